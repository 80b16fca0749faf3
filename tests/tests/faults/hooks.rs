//! Others at the hook: they remove ours, or come before it.

use tcpwatch_tests::hook::{self, Foreign, Place, Verdict};
use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::records::to;
use tcpwatch_tests::wait;

use super::support::{address, held, said};

#[test]
fn what_others_remove_is_put_back_and_the_gap_is_said() {
    for (mode, what) in [
        ("tcx", "our TCX link detached"),
        ("clsact", "our filter deleted"),
        ("clsact", "our qdisc deleted"),
    ] {
        let lab = Lab::new();
        let watch = lab.watch(["--interval", "100ms", "--attach", mode]);
        match what {
            "our TCX link detached" => hook::detach_first(&lab.near, "eth0"),
            "our filter deleted" => {
                lab.near.run("tc filter del dev eth0 egress");
            }
            _ => {
                lab.near.run("tc qdisc del dev eth0 clsact");
            }
        }
        let mut socket = lab.udp_v4();
        let mut lost = 0_u64;
        wait::until("packets are counted again", || {
            socket.send(address("192.0.2.1"), 10);
            lost += 1;
            to(&watch.records(), "192.0.2.1").packets > 0
        });
        socket.send_times(address("192.0.2.2"), 10, 500);
        let ended = watch.stop();
        let records = ended.books();
        assert_eq!(to(&records, "192.0.2.2").packets, 500, "{what}");
        let messages = ended.stderr.join("\n");
        assert!(
            messages.contains("eth0: somebody has removed tcpwatch"),
            "{messages}"
        );
        let lost = lost - to(&records, "192.0.2.1").packets;
        held(
            what,
            "attached again within a second, the gap said, exact from then on",
            &format!("{lost} packets in the gap, 500 of 500 after it"),
        );
    }
}

#[test]
fn a_program_that_is_put_before_ours_is_noticed_and_ours_moves_once() {
    let lab = Lab::new();
    let watch = lab.watch(["--interval", "100ms", "--attach", "tcx"]);
    let mut socket = lab.udp_v4();
    // Stopped, so that nothing moves before the control is done.
    watch.signal(libc::SIGSTOP);
    let foreign = Foreign::attach(&lab.near, "eth0", "foreign", Verdict::Pass, Place::First);
    socket.send_times(address("192.0.2.9"), 10, 50);
    watch.signal(libc::SIGCONT);
    wait::until("the move is said", || said(&watch, "tcpwatch is first again"));
    assert_eq!(hook::tcx_programs(&lab.near, "eth0"), ["tcpwatch_l2", "foreign"]);
    socket.send_times(address("192.0.2.1"), 10, 500);

    // It comes back, a new one: within the minute, we stay where we are.
    let second = Foreign::attach(&lab.near, "eth0", "second", Verdict::Pass, Place::First);
    wait::until("that we stay behind is said", || {
        said(&watch, "moves to the front at most once a minute")
    });
    assert_eq!(hook::tcx_programs(&lab.near, "eth0")[0], "second");
    drop(second);
    socket.send_times(address("192.0.2.2"), 10, 70);
    let ended = watch.stop();
    let records = ended.books();
    assert_eq!(
        to(&records, "192.0.2.9").packets,
        0,
        "the control: who is first decides"
    );
    assert_eq!(to(&records, "192.0.2.1").packets, 500);
    assert_eq!(to(&records, "192.0.2.2").packets, 70);
    drop(foreign);
    let line = ended
        .stderr
        .iter()
        .find(|line| line.contains("first again"))
        .unwrap();
    let gap = line.rsplit("after ").next().unwrap().split(" us").next().unwrap();
    held(
        "a TCX program that passes packets finally is put before ours",
        "said; ours is first again within a second, at most once a minute",
        &format!("0 of 50 seen while behind, 500 of 500 after; {gap} us for the move"),
    );
}

#[test]
fn two_tcpwatches_do_not_fight_for_the_first_place() {
    let lab = Lab::new();
    let first = lab.watch(["--interval", "100ms", "--attach", "tcx"]);
    let second = lab.watch(["--interval", "100ms", "--attach", "tcx"]);
    let mut socket = lab.udp_v4();
    // Over several looks at the hook.
    for _ in 0..3 {
        first.wait_for_records(12);
        socket.send_times(address("192.0.2.1"), 10, 100);
    }
    let (first, second) = (first.stop(), second.stop());
    for ended in [&first, &second] {
        assert_eq!(to(&ended.books(), "192.0.2.1").packets, 300);
        assert!(
            !ended
                .stderr
                .iter()
                .any(|line| line.contains("programs of others")),
            "{:#?}",
            ended.stderr
        );
    }
    held(
        "a second tcpwatch attaches before the first",
        "neither moves, both count",
        "300 of 300 twice",
    );
}

/// IPv4 packets that the far end has taken as its own; those with a VLAN tag that it does not have are none.
fn delivered(lab: &Lab) -> u64 {
    let text = lab.far.run("cat /proc/net/snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "InDelivers").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

#[test]
fn a_program_behind_ours_still_runs() {
    let lab = Lab::new();
    let mut socket = lab.udp_v4();
    let watch = lab.watch(["--interval", "1h", "--attach", "tcx"]);
    let before = delivered(&lab);
    socket.send_times(address("192.0.2.1"), 10, 20);
    wait::until("they arrive", || delivered(&lab) == before + 20);
    let foreign = Foreign::attach(&lab.near, "eth0", "foreign", Verdict::TagVlan, Place::Last);
    socket.send_times(address("192.0.2.2"), 10, 300);
    drop(foreign);
    socket.send_times(address("192.0.2.3"), 10, 5);
    wait::until("those behind them arrive", || delivered(&lab) >= before + 25);
    assert_eq!(delivered(&lab), before + 25, "all 300 were tagged");
    let records = watch.stop().books();
    assert_eq!(to(&records, "192.0.2.1").packets, 20);
    assert_eq!(to(&records, "192.0.2.2").packets, 300);
    held(
        "a TCX program behind ours",
        "it sees every packet that ours has counted",
        "300 of 300 changed by it, 25 without it as they were",
    );
}
