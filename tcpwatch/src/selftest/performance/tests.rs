//! What a kernel would have to count, and mistakes that it could make.

use tcpwatch_common::FlowKey;

use super::*;
use crate::tally::Drained;

const IFINDEX: u32 = 2;

/// What a kernel would have counted that makes no mistakes.
fn drained(acts: &[Act]) -> Drained {
    let mut drained = Drained {
        bans: vec![(script::banned(), Counts::default())],
        ..Drained::default()
    };
    for act in acts {
        let traffic = act.expected();
        let outcome = match act.fate {
            Fate::Counted => Outcome::Counted,
            Fate::Banned => Outcome::Banned,
            Fate::OtherSource => Outcome::OtherSource,
        };
        drained.totals.seen.add(traffic.counts);
        drained.totals.outcomes[outcome as usize].add(traffic.counts);
        match act.fate {
            Fate::Counted => drained.destinations.push((key(act.destination), traffic)),
            Fate::Banned => drained.bans[0].1.add(traffic.counts),
            Fate::OtherSource => {}
        }
    }
    drained
}

fn key(destination: IpAddr) -> FlowKey {
    FlowKey {
        destination: to_address(destination),
        source: to_address(NEAR_V4.into()),
        ifindex: IFINDEX,
    }
}

fn judged(drained: Drained) -> Part {
    let acts = script::script(true);
    let arrived = acts
        .iter()
        .filter(|act| act.kind != Kind::Connections && act.fate != Fate::OtherSource)
        .map(|act| (act.destination, u64::from(act.packets)))
        .collect();
    let mut tally = Tally::default();
    let balanced = tally.add(drained).is_none();
    judge(IFINDEX, &acts, "tcx", &tally, balanced, &arrived)
}

#[test]
fn exactly_what_was_sent_passes() {
    let part = judged(drained(&script::script(true)));
    assert!(part.passed(), "{part:#?}");
    assert_eq!(part.seen.packets, 348);
}

#[test]
fn packets_of_the_kernels_own_are_told_from_mistakes() {
    let mut drained = drained(&script::script(true));
    let report = Counts {
        packets: 2,
        bytes: 180,
    };
    drained.totals.seen.add(report);
    drained.totals.outcomes[Outcome::OtherSource as usize].add(report);
    let part = judged(drained);
    assert!(part.passed(), "{part:#?}");
    assert_eq!(part.rows.last().unwrap().noise, 2);
}

#[test]
fn a_packet_more_or_less_a_byte_or_a_stranger_fails() {
    let mistakes: [fn(&mut Drained); 5] = [
        |drained| drained.destinations[0].1.counts.packets -= 1,
        |drained| drained.destinations[3].1.counts.bytes += 1,
        |drained| drained.destinations[4].1.tcp_connections -= 1,
        |drained| drained.bans[0].1.packets += 1,
        |drained| {
            let stranger = Traffic::of(Counts {
                packets: 1,
                bytes: 60,
            });
            let to = IpAddr::from([192, 0, 2, 1]);
            drained.destinations.push((key(to), stranger));
            drained.totals.seen.add(stranger.counts);
            drained.totals.outcomes[Outcome::Counted as usize].add(stranger.counts);
        },
    ];
    for (at, mistake) in mistakes.into_iter().enumerate() {
        let mut drained = drained(&script::script(true));
        mistake(&mut drained);
        assert!(!judged(drained).passed(), "mistake {at}");
    }
}
