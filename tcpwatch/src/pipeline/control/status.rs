//! The pipeline's state as `tcpwatch status` shows it.

use jiff::{Timestamp, ZonedDateTime};

use super::Pipeline;
use crate::config::Interfaces;
use crate::control::last_error;
use crate::control::status::{
    InterfaceState, LossState, PlaceState, RemovalState, ServedState, Status, TableState,
};
use crate::kernel::drain::CounterSource as _;

impl Pipeline {
    /// How it is now.
    pub(super) fn status(&mut self) -> Status {
        let fill = self
            .source
            .as_ref()
            .map(|source| source.fill())
            .unwrap_or_default();
        let bans_room = self.room_for_bans();
        let removals = self.watch.removals();
        let control = &self.control;
        let (config, origin) = (&self.config, &self.config.origin);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            now: Timestamp::now(),
            started: control.started.wall,
            uptime_seconds: control.started.monotonic.elapsed().as_secs(),
            config: origin.file.clone(),
            ban_files: origin.ban_files.clone(),
            pin: config.service.pin.clone(),
            interval_seconds: config.interval.as_secs_f64(),
            interfaces: self.interfaces(),
            missing: self.missing(),
            tables: TableState {
                percent: fill.percent(),
                spilled: fill.spilled,
                spill: fill.room,
                slots_taken: fill.taken,
                slots: fill.slots,
            },
            bans: config.bans.len(),
            bans_room,
            drains: control.drains,
            last_drain: control.last_drain,
            records: self.records,
            losses: LossState {
                overflow_packets: control.overflow.packets,
                overflow_bytes: control.overflow.bytes,
                unbalanced_drains: control.unbalanced,
                last: control.last_loss,
            },
            removals: RemovalState {
                count: removals.count,
                last: removals.last,
            },
            places: self.places(),
            outlets: self.outputs.states(),
            served: self.served_ports(),
            names: config.names.said(),
            last_error: last_error::last(),
            ..Status::default()
        }
        .judged()
    }

    /// Banned prefixes that the kernel has room for.
    pub(super) fn room_for_bans(&mut self) -> usize {
        self.source
            .as_mut()
            .map_or(0, |source| source.tables().room_for_bans())
    }

    fn interfaces(&self) -> Vec<InterfaceState> {
        self.watch
            .attached()
            .map(|(interface, hook, since)| InterfaceState {
                name: interface.name.to_string(),
                index: interface.index,
                hook: hook.to_owned(),
                since,
                up: interface.up,
            })
            .collect()
    }

    /// Named interfaces that are not watched.
    fn missing(&self) -> Vec<String> {
        let Interfaces::Named(names) = &self.config.interfaces else {
            return Vec::new();
        };
        let watched = |name: &&String| {
            self.watch
                .interfaces()
                .any(|interface| *interface.name == ***name)
        };
        names.iter().filter(|name| !watched(name)).cloned().collect()
    }

    fn places(&self) -> Vec<PlaceState> {
        let today = ZonedDateTime::now().date();
        self.enricher
            .files()
            .into_iter()
            .map(|file| PlaceState {
                file: file.file.to_string(),
                built: file.built.to_string(),
                days: file.built.until(today).map_or(0, |span| span.get_days()),
            })
            .collect()
    }

    fn served_ports(&self) -> Option<ServedState> {
        self.config.served.as_ref()?;
        let bits = self.watch.policy().served.as_deref()?;
        let ports = |words: &[u32]| {
            (0..=u16::MAX)
                .filter(|port| {
                    let word = words.get(usize::from(port / 32)).copied().unwrap_or_default();
                    word >> (port % 32) & 1 == 1
                })
                .collect()
        };
        Some(ServedState {
            tcp: ports(&*bits.tcp),
            udp: ports(&*bits.udp),
        })
    }
}
