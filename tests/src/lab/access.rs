// SPDX-License-Identifier: GPL-3.0-or-later
//! What a screen reader sees of a session: roles, names and states over AT-SPI (the interfaces of
//! at-spi2-core, `xml/Accessible.xml` and its neighbours).

use std::time::Duration;

use tokio::runtime::Runtime;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::Outcome;

/// Bits of `GetState` (`AtspiStateType`).
const CHECKED: u32 = 4;
const FOCUSABLE: u32 = 11;
const FOCUSED: u32 = 12;
const PRESSED: u32 = 20;
const SELECTED: u32 = 23;

/// What places are counted from (`AtspiCoordType`).
const IN_WINDOW: u32 = 1;

/// Numbers of `GetRole` (`AtspiRole`), by the names that AT-SPI has for them. GTK's own names of roles
/// differ from version to version.
const ROLES: [(u32, &str); 23] = [
    (2, "alert"),
    (7, "check box"),
    (11, "combo box"),
    (16, "dialog"),
    (23, "frame"),
    (27, "image"),
    (29, "label"),
    (31, "list"),
    (32, "list item"),
    (37, "page tab"),
    (43, "push button"),
    (52, "spin button"),
    (55, "table"),
    (56, "table cell"),
    (57, "column header"),
    (61, "entry"),
    (62, "toggle button"),
    (66, "tree table"),
    (79, "entry"),
    (83, "heading"),
    (90, "table row"),
    (98, "list"),
    (101, "alert"),
];

/// One widget.
#[derive(Debug, Clone)]
pub struct Widget {
    /// `push button`, `label`, `tree table`, …; `role N` if it is none that matters here.
    pub role: String,
    /// What a screen reader says.
    pub name: String,
    /// The keyboard can go there.
    pub focusable: bool,
    /// The keyboard is there.
    pub focused: bool,
    /// It is selected.
    pub selected: bool,
    /// It is on.
    pub checked: bool,
    /// It is pressed, and stays so.
    pub pressed: bool,
    /// Places of what it is in, in the list of all, outermost first.
    pub within: Vec<usize>,
    bus: String,
    path: OwnedObjectPath,
}

fn named(role: u32) -> String {
    let known = ROLES.iter().find(|(number, _)| *number == role);
    known.map_or_else(|| format!("role {role}"), |(_, name)| (*name).to_owned())
}

/// All widgets of the session, parents before children.
#[derive(Debug, Clone, Default)]
pub struct Tree(pub Vec<Widget>);

impl Tree {
    /// The first one of this role whose name begins so.
    #[must_use]
    pub fn find(&self, role: &str, name: &str) -> Option<&Widget> {
        self.0.iter().find(|widget| widget.role == role && widget.name.starts_with(name))
    }

    /// Texts of the labels in the first one of this role whose name is this.
    #[must_use]
    pub fn texts_in(&self, role: &str, name: &str) -> Vec<&str> {
        let Some(at) = self.0.iter().position(|widget| widget.role == role && widget.name == name) else {
            return Vec::new();
        };
        let labels = self.0.iter().filter(|widget| widget.role == "label" && widget.within.contains(&at));
        labels.map(|widget| widget.name.as_str()).collect()
    }

    /// A label says exactly this, somewhere.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        self.0.iter().any(|widget| widget.role == "label" && widget.name == text)
    }

    /// All of it, a line for each, as deep as it is.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |it: &Widget| {
            let mark = |is: bool, mark: &str| if is { mark.to_owned() } else { String::new() };
            let marks = mark(it.focused, " focused") + &mark(it.selected, " selected");
            format!("{}{} {:?}{marks}\n", "  ".repeat(it.within.len()), it.role, it.name)
        };
        self.0.iter().map(line).collect()
    }

    /// Where the keyboard is: the innermost one.
    #[must_use]
    pub fn focus(&self) -> Option<&Widget> {
        self.0.iter().rev().find(|widget| widget.focused)
    }
}

/// A connection to the accessibility bus of a session.
pub struct Access {
    runtime: Runtime,
    bus: zbus::Connection,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Connects as the one with this uid, whose session it is: nobody else is let in, root neither.
    /// `session` is the address of the session's bus, where the accessibility bus is asked for.
    ///
    /// # Errors
    /// at-spi2-core is not installed, or does not start.
    pub fn connect(session: &str, uid: u32) -> Outcome<Access> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // The kernel tells the bus who connected; after that root goes on.
        let root = nix::unistd::geteuid();
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(uid))?;
        let bus = runtime.block_on(async {
            let session = zbus::connection::Builder::address(session)?.build().await?;
            let name = "org.a11y.Bus";
            let reply =
                session.call_method(Some(name), "/org/a11y/bus", Some(name), "GetAddress", &()).await?;
            let address: String = reply.body().deserialize()?;
            zbus::connection::Builder::address(address.as_str())?.build().await
        });
        nix::unistd::seteuid(root)?;
        Ok(Access { bus: bus?, runtime })
    }

    /// Everything, as it is now. What goes away meanwhile is left out.
    ///
    /// # Errors
    /// Nobody answers within 20 s.
    pub fn tree(&self) -> Outcome<Tree> {
        let root = OwnedObjectPath::try_from("/org/a11y/atspi/accessible/root")
            .map_err(|error| error.to_string())?;
        let all = self.runtime.block_on(async {
            let mut tree = Tree::default();
            let read = self.read("org.a11y.atspi.Registry".into(), root, &[], &mut tree);
            tokio::time::timeout(Duration::from_secs(20), read).await.map(|()| tree)
        });
        all.map_err(|_| "the accessibility bus does not answer".into())
    }

    async fn read(&self, bus: String, path: OwnedObjectPath, within: &[usize], tree: &mut Tree) {
        let face = "org.a11y.atspi.Accessible";
        let call = |member| self.bus.call_method(Some(bus.as_str()), &path, Some(face), member, &());
        let arguments = (face, "Name");
        let name = self.bus.call_method(
            Some(bus.as_str()),
            &path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &arguments,
        );
        let (role, name, states, children) =
            tokio::join!(call("GetRole"), name, call("GetState"), call("GetChildren"));
        let (Ok(role), Ok(children)) = (role, children) else { return };
        let Ok(children) = children.body().deserialize::<Vec<(String, OwnedObjectPath)>>() else { return };
        let name: Option<OwnedValue> = name.ok().and_then(|name| name.body().deserialize().ok());
        let states: Vec<u32> =
            states.ok().and_then(|states| states.body().deserialize().ok()).unwrap_or_default();
        let has = |bit: u32| states.first().is_some_and(|low| low & (1 << bit) != 0);
        tree.0.push(Widget {
            role: named(role.body().deserialize().unwrap_or_default()),
            name: name.and_then(|name| String::try_from(name).ok()).unwrap_or_default(),
            focusable: has(FOCUSABLE),
            focused: has(FOCUSED),
            selected: has(SELECTED),
            checked: has(CHECKED),
            pressed: has(PRESSED),
            within: within.to_vec(),
            bus,
            path,
        });
        let mut inside = within.to_vec();
        inside.push(tree.0.len() - 1);
        for (bus, path) in children {
            Box::pin(self.read(bus, path, &inside, tree)).await;
        }
    }

    /// Which of these has the keyboard now: the innermost one. Much less work than the whole tree.
    #[must_use]
    pub fn focus<'a>(&self, tree: &'a Tree) -> Option<&'a Widget> {
        let face = "org.a11y.atspi.Accessible";
        let focused = async |widget: &Widget| {
            let bus = Some(widget.bus.as_str());
            let reply = self.bus.call_method(bus, &widget.path, Some(face), "GetState", &()).await;
            let states: Vec<u32> = reply.ok().and_then(|it| it.body().deserialize().ok()).unwrap_or_default();
            states.first().is_some_and(|low| low & (1 << FOCUSED) != 0)
        };
        self.runtime.block_on(async {
            for widget in tree.0.iter().rev().filter(|it| it.focusable) {
                if focused(widget).await {
                    return Some(widget);
                }
            }
            None
        })
    }

    /// Does what a click on it would do.
    ///
    /// # Errors
    /// It does nothing.
    pub fn press(&self, widget: &Widget) -> Outcome {
        let face = "org.a11y.atspi.Action";
        let done: bool = self.runtime.block_on(async {
            let bus = Some(widget.bus.as_str());
            let reply = self.bus.call_method(bus, &widget.path, Some(face), "DoAction", &0_i32).await?;
            reply.body().deserialize()
        })?;
        super::ensure(done, || format!("{} {:?} cannot be pressed", widget.role, widget.name))
    }

    /// What is written in an entry.
    ///
    /// # Errors
    /// It has no text.
    pub fn text(&self, widget: &Widget) -> Outcome<String> {
        let face = "org.a11y.atspi.Text";
        let text = self.runtime.block_on(async {
            let bus = Some(widget.bus.as_str());
            let reply = self
                .bus
                .call_method(bus, &widget.path, Some(face), "GetText", &(0_i32, i32::from(i16::MAX)))
                .await?;
            reply.body().deserialize::<String>()
        })?;
        Ok(text)
    }

    /// Writes this into it instead of what is there.
    ///
    /// # Errors
    /// It takes no text.
    pub fn write(&self, widget: &Widget, text: &str) -> Outcome {
        let face = "org.a11y.atspi.EditableText";
        let done: bool = self.runtime.block_on(async {
            let bus = Some(widget.bus.as_str());
            let reply = self.bus.call_method(bus, &widget.path, Some(face), "SetTextContents", &text).await?;
            reply.body().deserialize()
        })?;
        super::ensure(done, || format!("{} {:?} takes no text", widget.role, widget.name))
    }

    /// Sets its number.
    ///
    /// # Errors
    /// It has none.
    pub fn set(&self, widget: &Widget, number: f64) -> Outcome {
        let (face, value) = ("org.a11y.atspi.Value", zbus::zvariant::Value::from(number));
        self.runtime.block_on(async {
            let (bus, properties) = (Some(widget.bus.as_str()), Some("org.freedesktop.DBus.Properties"));
            let arguments = (face, "CurrentValue", value);
            self.bus.call_method(bus, &widget.path, properties, "Set", &arguments).await
        })?;
        Ok(())
    }

    /// The middle of it in its window, which without a manager of windows is at the corner of the screen.
    ///
    /// # Errors
    /// It has no place.
    pub fn middle(&self, widget: &Widget) -> Outcome<(i32, i32)> {
        let (x, y, width, height) = self.extents(widget)?;
        Ok((x + width / 2, y + height / 2))
    }

    /// Where it is in its window and how large: x, y, width and height in pixels.
    ///
    /// # Errors
    /// It has no place.
    pub fn extents(&self, widget: &Widget) -> Outcome<(i32, i32, i32, i32)> {
        let face = "org.a11y.atspi.Component";
        let place = self.runtime.block_on(async {
            let bus = Some(widget.bus.as_str());
            // Newer versions of GTK know no places on the screen.
            let reply = self.bus.call_method(bus, &widget.path, Some(face), "GetExtents", &IN_WINDOW).await?;
            let place: ((i32, i32, i32, i32),) = reply.body().deserialize()?;
            Ok::<_, zbus::Error>(place.0)
        })?;
        Ok(place)
    }
}
