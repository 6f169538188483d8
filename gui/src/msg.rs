// SPDX-License-Identifier: GPL-3.0-or-later
//! What happens in the window: clicks, answers and what the monitor says by itself.

use picosnitch_api::listen::Event;
use picosnitch_api::row::{self, Page as Rows, Status, Total};
use picosnitch_api::{Client, Dimension, Permission, quiet};

use crate::ask::Failure;
use crate::chart::scale::Data;
use crate::icon::Names;
use crate::range::Range;
use crate::words::Chip;

/// Where messages go.
pub type Sender = relm4::Sender<Msg>;

/// A place in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Totals, chart, the programs that use most.
    Overview,
    /// All programs.
    Programs,
    /// Totals by any dimension, by default by domain.
    Destinations,
    /// The inbox.
    Timeline,
    /// What happens now.
    Live,
    /// What is recorded and what is lost.
    Health,
    /// One program.
    Program(i64),
}

/// An answer of the monitor.
#[derive(Debug)]
pub enum Got {
    /// Totals of the range by program, and sums of it and of the period before.
    Totals(Box<Totals>),
    /// The chart.
    Chart(Box<Data>, Dimension),
    /// Small charts of programs, by their numbers.
    Sparks(Vec<(i64, row::Series)>),
    /// With whom programs of the range talked, and the number of the one that was asked for in vain, if any.
    Whom(Vec<Whom>, Option<String>),
    /// A page of all programs.
    Executables(Rows<row::Executable>, Part),
    /// Totals by the dimension.
    Groups(Vec<Total>, u64),
    /// A page of notices.
    Notices(Rows<row::Event>, Part),
    /// A page of connections.
    Connections(Rows<row::Connection>, Part),
    /// One program with its totals by domain and parent.
    Program(Box<Program>),
    /// Connections of the program that is shown.
    ProgramConnections(Rows<row::Connection>),
    /// Its chart, by destination.
    ProgramChart(Box<Data>, Dimension),
    /// It was not asked any more, as something else was asked for since.
    Late,
    /// It could not answer for this place.
    Failed(Place, Failure),
}

impl Got {
    /// How many rows of others it says are hidden. What comes later to a list is of fewer days than the list.
    pub fn hidden(&self) -> Option<u64> {
        match self {
            Got::Totals(totals) => Some(totals.hidden),
            Got::Groups(_, hidden) => Some(*hidden),
            Got::Executables(page, Part::First) => Some(page.hidden),
            Got::Notices(page, Part::First) => Some(page.hidden),
            Got::Connections(page, Part::First) | Got::ProgramConnections(page) => Some(page.hidden),
            _ => None,
        }
    }
}

/// Which part of a list it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The beginning, instead of all that is there.
    First,
    /// This page of it.
    Page(usize),
    /// What came since the beginning was asked for.
    Newer,
}

/// Answer for the overview.
#[derive(Debug, Default)]
pub struct Totals {
    /// Programs with their sums in the range, largest first.
    pub programs: Vec<row::Executable>,
    /// There are more.
    pub more: bool,
    /// Sent and received in the range.
    pub now: (u64, u64),
    /// And in the period before.
    pub before: Option<(u64, u64)>,
    /// Domains, and whether there are more.
    pub domains: (usize, bool),
    /// There are destinations without a name besides.
    pub unnamed: bool,
    /// Rows that the person may not see.
    pub hidden: u64,
}

/// With whom a program talked.
#[derive(Debug, Clone, PartialEq)]
pub struct Whom {
    /// Its totals when it was asked for; the key is the program's number.
    pub of: Total,
    /// The name that most went to and came from; an address where none has a name.
    pub largest: String,
    /// How many are counted.
    pub count: usize,
    /// There are more, as beyond a page or without a name.
    pub more: bool,
}

/// Answer for the page of a program.
#[derive(Debug)]
pub struct Program {
    /// Facts.
    pub about: row::Executable,
    /// Whom it talked to.
    pub domains: Vec<Total>,
    /// And where there is no name.
    pub addresses: Vec<Total>,
    /// What started it.
    pub parents: Vec<Total>,
    /// And what started that.
    pub grandparents: Vec<Total>,
    /// Its units, users and containers.
    pub belongs: Vec<(Dimension, Vec<Total>)>,
    /// Traffic by content.
    pub contents: Vec<Total>,
}

/// See the module.
#[derive(Debug)]
pub enum Msg {
    /// There is a bus to ask on.
    Bus(Client),
    /// There is none; what to do about it.
    NoBus(Failure),
    /// The monitor said something by itself.
    Said(Event),
    /// State of the monitor.
    Status(Box<Status>),
    /// The settings say whether traffic is recorded.
    Kept(bool),
    /// What the person may do.
    Permissions(Vec<(&'static str, Permission)>),
    /// The latest notices, for the count of unread ones.
    Unread(Vec<row::Event>),
    /// An answer, and the number of the view that it was asked for.
    Got(u64, Got),
    /// Go there.
    Go(Place),
    /// Go where it was before.
    Back,
    /// Go to the program of this path.
    OpenPath(String),
    /// Another range.
    Range(Range),
    /// Go where it was before a closer look, if that was the last step.
    Unzoom,
    /// Look closer.
    Zoom(Range),
    /// Group by this.
    By(Dimension),
    /// Add a filter.
    Filter(Chip),
    /// Add a filter, and look at it there.
    FilterIn(Chip, Place),
    /// Another order of the list at this place.
    Sorted(Place),
    /// Show notifications about this program no more, or again.
    Mute(quiet::Program, bool),
    /// Remove the filter at this place.
    Unfilter(usize),
    /// Remove all filters and the search.
    Clear,
    /// Another search.
    Search(String),
    /// Rows of the list at this place are in sight that are not here.
    More(Place),
    /// Ask for what was recorded since the page was asked for.
    Renew,
    /// Look at the timeline again.
    Look,
    /// Hold the live list, or let it go on.
    Hold(bool),
    /// Ask for everybody's rows.
    ShowAll,
    /// Whether everybody's rows are allowed: how many are hidden all the same.
    AllShown(Result<u64, Failure>),
    /// Go to what is unread.
    Review,
    /// End a pause of the record.
    Resume,
    /// What does not work as it should is known, and not to be told again.
    PutAway,
    /// The window is looked at again.
    Focus,
    /// The icons of programs.
    Icons(Names),
    /// These were seen.
    Seen(Vec<i64>),
    /// The monitor knows that they were seen.
    Acknowledged(Vec<i64>),
    /// The same of all that were unread, as far as it could be said.
    AllAcknowledged(Vec<i64>, Option<Failure>),
    /// Save what is shown as a file.
    Export,
    /// Ask everything again.
    Refresh,
    /// Open the settings.
    Settings,
    /// Open what the program says about itself.
    About,
    /// Units or muted programs changed.
    Preferences,
    /// Say something for a moment.
    Note(String),
    /// What the command line asks for.
    Open(Vec<String>),
}
