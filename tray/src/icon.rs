// SPDX-License-Identifier: GPL-3.0-or-later
//! The status icon, drawn here so that it looks the same in every theme and needs no installed file: an
//! eye on a disc. What it says is said by shape, too, never by colour alone.

use ksni::Icon;
use picosnitch_api::state::Daemon;

/// Sides in pixels; a panel takes the nearest.
const SIZES: [i32; 3] = [22, 32, 48];
/// Samples per pixel and direction.
const FINE: i32 = 4;

/// What the icon says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How the daemon is.
    pub daemon: Daemon,
    /// Something waits to be seen.
    pub unread: bool,
    /// Notifications are paused.
    pub hushed: bool,
}

type Colour = [u8; 3];
const WHITE: Colour = [255, 255, 255];

/// The icon in each size.
pub fn draw(look: Look) -> Vec<Icon> {
    SIZES.iter().map(|side| at(look, *side)).collect()
}

fn at(look: Look, side: i32) -> Icon {
    let mut data = Vec::with_capacity((side * side * 4) as usize);
    for y in 0..side {
        for x in 0..side {
            let mut sum = [0u32; 4];
            for sample in 0..FINE * FINE {
                let unit = |pixel: i32, fine: i32| {
                    ((pixel * FINE + fine) as f64 + 0.5) / f64::from(side * FINE) * 2.0 - 1.0
                };
                if let Some([r, g, b]) = colour(look, unit(x, sample % FINE), unit(y, sample / FINE)) {
                    for (sum, value) in sum.iter_mut().zip([255, r, g, b]) {
                        *sum += u32::from(value);
                    }
                }
            }
            let covered = sum[0] / 255;
            // Alpha is the share of the pixel, the colour is not multiplied with it.
            data.push((sum[0] / (FINE * FINE) as u32) as u8);
            data.extend(sum[1..].iter().map(|value| (value / covered.max(1)) as u8));
        }
    }
    Icon { width: side, height: side, data }
}

/// The colour at a place in the square from -1 to 1; `None` where it is clear.
fn colour(look: Look, x: f64, y: f64) -> Option<Colour> {
    let distance = |cx: f64, cy: f64| ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
    if look.unread {
        let badge = distance(0.62, -0.62);
        if badge < 0.36 {
            return Some([0xe0, 0x1b, 0x24]);
        }
        if badge < 0.46 {
            return None;
        }
    }
    if distance(0.0, 0.0) > 0.96 {
        return None;
    }
    let ground = match look.daemon {
        Daemon::Watching => [0x1c, 0x71, 0xd8],
        Daemon::Degraded => [0xc6, 0x46, 0x00],
        Daemon::Starting | Daemon::Paused | Daemon::Absent => [0x77, 0x76, 0x7b],
    };
    let sign = match look.daemon {
        // An exclamation mark.
        Daemon::Degraded => x.abs() < 0.13 && (-0.62..0.22).contains(&y) || distance(0.0, 0.5) < 0.16,
        // Two bars.
        Daemon::Paused => (0.14..0.42).contains(&x.abs()) && y.abs() < 0.5,
        // Three dots.
        Daemon::Starting => [-0.5, 0.0, 0.5].iter().any(|at| distance(*at, 0.0) < 0.17),
        Daemon::Watching | Daemon::Absent => eye(x, y, look.hushed),
    };
    // A slash through the eye: nobody is there.
    if look.daemon == Daemon::Absent {
        let along = (x + y).abs() / std::f64::consts::SQRT_2;
        if along < 0.09 {
            return Some(WHITE);
        }
        if along < 0.2 {
            return Some(ground);
        }
    }
    Some(if sign { WHITE } else { ground })
}

/// An almond with a pupil; hushed, the lid is closed.
fn eye(x: f64, y: f64, hushed: bool) -> bool {
    // Two circles that meet at (±0.74, 0).
    let (radius, offset) = (0.86_f64, 0.44_f64);
    let upper = x * x + (y - offset).powi(2) < radius * radius;
    let lower = x * x + (y + offset).powi(2) < radius * radius;
    if hushed {
        return lower && x * x + (y + offset + 0.17).powi(2) >= radius * radius && y > -0.05;
    }
    let pupil = (x * x + y * y).sqrt();
    upper && lower && !(0.0..0.25).contains(&pupil)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it is white, whatever the colours are: its shape.
    fn white(icon: &Icon) -> Vec<bool> {
        icon.data.chunks(4).map(|p| p[0] > 128 && p[1..].iter().all(|c| *c > 200)).collect()
    }

    #[test]
    fn d01_each_state_has_a_look_of_its_own() {
        use Daemon::{Absent, Degraded, Paused, Starting, Watching};
        let look = |daemon, unread, hushed| draw(Look { daemon, unread, hushed });
        let mut shapes = vec![(Watching, white(&look(Watching, false, true)[0]))];
        for daemon in [Watching, Degraded, Paused, Absent, Starting] {
            let (read, unread) = (look(daemon, false, false), look(daemon, true, false));
            for icon in read.iter().chain(&unread) {
                assert_eq!(icon.data.len(), (icon.width * icon.height * 4) as usize);
                assert_eq!(icon.data[0], 0, "the corner is clear");
            }
            assert!(
                read[0].data != unread[0].data,
                "{daemon:?}: nothing says that there is something unread"
            );
            shapes.push((daemon, white(&read[0])));
        }
        // A few pixels at the edges differ by the colour of the ground alone.
        for (index, (one, a)) in shapes.iter().enumerate() {
            for (other, b) in &shapes[..index] {
                let differ = a.iter().zip(b).filter(|(a, b)| a != b).count();
                assert!(differ > a.len() / 25, "{one:?}, {other:?}: {differ} of {} pixels", a.len());
            }
        }
    }
}
