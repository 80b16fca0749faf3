//! How a running tcpwatch is, and what of it is wrong. Pure: whoever fills it in knows the time.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long something that has happened once counts as wrong.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// Of the spill, in percent: a loss is near.
const ALARMING: u64 = 80;
/// Records of one output that wait: it does not keep up.
const MANY_WAITING: u64 = 3;
/// How much later than an interval's end a drain may come, in seconds.
const LATE_SECONDS: f64 = 5.0;

/// The answer to `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Nothing is wrong.
    pub healthy: bool,
    /// What is wrong, for people.
    pub wrong: Vec<String>,
    /// tcpwatch's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it was asked.
    pub now: Timestamp,
    /// When it began.
    pub started: Timestamp,
    /// Since then, by a clock that is never set.
    pub uptime_seconds: u64,
    /// The configuration file; none: there is none.
    pub config: Option<PathBuf>,
    /// The ban files.
    pub ban_files: Vec<PathBuf>,
    /// Where what counts is kept while tcpwatch is away; none: nowhere.
    pub pin: Option<PathBuf>,
    /// Length of a record's interval.
    pub interval_seconds: f64,
    /// What is watched.
    pub interfaces: Vec<InterfaceState>,
    /// Named interfaces that are not there, or cannot be attached to.
    pub missing: Vec<String>,
    /// How full the tables are that packets are counted in.
    pub tables: TableState,
    /// Banned prefixes.
    pub bans: usize,
    /// Banned prefixes that there is room for until the next start.
    pub bans_room: usize,
    /// How often the tables were emptied.
    pub drains: u64,
    /// When they were last.
    pub last_drain: Option<Timestamp>,
    /// Records made.
    pub records: u64,
    /// What was lost.
    pub losses: LossState,
    /// How often somebody took tcpwatch off a hook.
    pub removals: RemovalState,
    /// Place databases in use.
    pub places: Vec<PlaceState>,
    /// What became of the records, by output.
    pub outlets: Vec<OutletState>,
    /// Ports whose replies are left out; none: none are.
    pub served: Option<ServedState>,
    /// What destinations are named by; none: they are not.
    pub names: Option<String>,
    /// The last error that was logged.
    pub last_error: Option<ErrorState>,
}

/// A watched interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// By what it is watched: `tcx` or `clsact`.
    pub hook: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether it is up.
    pub up: bool,
}

/// How full the kernel tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// Of the spill, in percent.
    pub percent: u64,
    /// Entries of the spill.
    pub spilled: u64,
    /// Room in the spill.
    pub spill: u64,
    /// Slots that are taken on the CPU that has most.
    pub slots_taken: u64,
    /// Slots in use of one CPU.
    pub slots: u64,
}

/// What was lost since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossState {
    /// Packets whose destination found no room.
    pub overflow_packets: u64,
    /// Bytes of those.
    pub overflow_bytes: u64,
    /// Drains whose books did not balance.
    pub unbalanced_drains: u64,
    /// When that last happened.
    pub last: Option<Timestamp>,
}

/// How often somebody took tcpwatch off a hook since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalState {
    /// Times.
    pub count: u64,
    /// When that was last noticed.
    pub last: Option<Timestamp>,
}

/// A place database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceState {
    /// Its path.
    pub file: String,
    /// The day it was built.
    pub built: String,
    /// How many days ago that was.
    pub days: i32,
}

/// What became of the records that were handed to an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletState {
    /// `stdout`, `record` or `history`.
    pub name: String,
    /// Written.
    pub written: u64,
    /// Dropped: nobody will ever see them there.
    pub dropped: u64,
    /// Still to be written.
    pub waiting: u64,
}

/// Served ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedState {
    /// Of TCP.
    pub tcp: Vec<u16>,
    /// Of UDP.
    pub udp: Vec<u16>,
}

/// An error that was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorState {
    /// When.
    pub time: Timestamp,
    /// What it said.
    pub text: String,
}

impl Status {
    /// The same with what is wrong.
    #[must_use]
    pub fn judged(mut self) -> Self {
        self.wrong = self.faults();
        self.healthy = self.wrong.is_empty();
        self
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let fresh = |time: Option<Timestamp>| time.is_some_and(|time| self.now.duration_since(time) < FRESH);
        if self.interfaces.is_empty() {
            faults.push("no interface is watched: the log says why".to_owned());
        }
        for name in &self.missing {
            faults.push(format!(
                "{name} is not watched: it is not there, or the log says why"
            ));
        }
        let quiet = self
            .now
            .duration_since(self.last_drain.unwrap_or(self.started))
            .as_secs_f64();
        if quiet > self.interval_seconds * 2.0 + LATE_SECONDS {
            faults.push(format!(
                "the kernel tables were last drained {quiet:.0} seconds ago: the log says why"
            ));
        }
        if self.tables.percent >= ALARMING {
            faults.push(format!(
                "the kernel table of destinations is {} % full: raise --spill or --slots",
                self.tables.percent
            ));
        }
        let losses = self.losses;
        if losses.overflow_packets > 0 && fresh(losses.last) {
            faults.push(format!(
                "{} packets found no room, so their destinations are lost: raise --spill",
                losses.overflow_packets
            ));
        }
        if losses.unbalanced_drains > 0 && fresh(losses.last) {
            faults.push(format!(
                "the books of {} drains do not balance: please report this",
                losses.unbalanced_drains
            ));
        }
        if fresh(self.removals.last) {
            faults.push(format!(
                "somebody took tcpwatch off a hook, {}: find out who, packets meanwhile are not counted",
                times(self.removals.count)
            ));
        }
        for outlet in &self.outlets {
            if outlet.dropped > 0 {
                faults.push(format!(
                    "{}: {} records were dropped",
                    outlet.name, outlet.dropped
                ));
            }
            if outlet.waiting >= MANY_WAITING {
                faults.push(format!(
                    "{}: {} records wait to be written",
                    outlet.name, outlet.waiting
                ));
            }
        }
        if let Some(error) = self.last_error.as_ref().filter(|error| fresh(Some(error.time))) {
            faults.push(format!("the last error was: {}", error.text));
        }
        faults
    }
}

/// Once, or so many times.
pub(super) fn times(count: u64) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A service that has been well for an hour.
    pub fn well() -> Status {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let started = "2026-03-01T11:00:00Z".parse().unwrap();
        Status {
            version: "0.1.0".to_owned(),
            pid: 4711,
            now,
            started,
            uptime_seconds: 3600,
            config: Some("/etc/tcpwatch/config.toml".into()),
            ban_files: vec!["/etc/tcpwatch/bans".into()],
            interval_seconds: 20.0,
            interfaces: vec![InterfaceState {
                name: "eth0".to_owned(),
                index: 2,
                hook: "tcx".to_owned(),
                since: started,
                up: true,
            }],
            tables: TableState {
                percent: 0,
                spilled: 12,
                spill: 131_072,
                slots_taken: 310,
                slots: 4096,
            },
            bans: 3,
            bans_room: 1024,
            drains: 180,
            last_drain: Some("2026-03-01T11:59:50Z".parse().unwrap()),
            records: 180,
            places: vec![PlaceState {
                file: "/var/lib/tcpwatch/country.mmdb".to_owned(),
                built: "2026-02-01".to_owned(),
                days: 28,
            }],
            outlets: vec![OutletState {
                name: "record".to_owned(),
                written: 180,
                dropped: 0,
                waiting: 0,
            }],
            ..Status::default()
        }
    }

    fn wrong(change: impl FnOnce(&mut Status)) -> Vec<String> {
        let mut status = well();
        change(&mut status);
        status.judged().wrong
    }

    #[test]
    fn what_is_well_is_healthy() {
        assert_eq!(wrong(|_| {}), [""; 0]);
        assert!(well().judged().healthy);
    }

    #[test]
    fn each_thing_that_is_wrong_is_said() {
        let recent = Some("2026-03-01T11:30:00Z".parse().unwrap());
        assert!(wrong(|s| s.interfaces.clear())[0].starts_with("no interface is watched"));
        assert!(wrong(|s| s.missing.push("eth1".to_owned()))[0].starts_with("eth1 is not watched"));
        assert!(wrong(|s| s.tables.percent = 80)[0].contains("80 % full: raise --spill"));
        let late = wrong(|s| s.last_drain = "2026-03-01T11:59:00Z".parse().ok());
        assert!(late[0].contains("last drained 60 seconds ago"), "{late:?}");
        let lost = wrong(|s| {
            s.losses.overflow_packets = 7;
            s.losses.unbalanced_drains = 1;
            s.losses.last = recent;
        });
        assert!(lost[0].starts_with("7 packets found no room") && lost[1].contains("do not balance"));
        let removed = wrong(|s| {
            s.removals = RemovalState {
                count: 2,
                last: recent,
            }
        });
        assert!(removed[0].contains("off a hook, 2 times"), "{removed:?}");
        assert_eq!(
            wrong(|s| s.outlets[0].dropped = 4),
            ["record: 4 records were dropped"]
        );
        assert_eq!(
            wrong(|s| s.outlets[0].waiting = 3),
            ["record: 3 records wait to be written"]
        );
        let error = wrong(|s| {
            s.last_error = recent.map(|time| ErrorState {
                time,
                text: "cannot drain".to_owned(),
            });
        });
        assert_eq!(error, ["the last error was: cannot drain"]);
    }

    #[test]
    fn what_happened_once_is_forgiven_after_a_day() {
        let old = Some("2026-02-28T11:59:59Z".parse().unwrap());
        let nothing = wrong(|s| {
            s.losses = LossState {
                overflow_packets: 7,
                last: old,
                ..LossState::default()
            };
            s.removals = RemovalState { count: 1, last: old };
            s.last_error = old.map(|time| ErrorState {
                time,
                text: "cannot drain".to_owned(),
            });
        });
        assert_eq!(nothing, [""; 0]);
    }
}
