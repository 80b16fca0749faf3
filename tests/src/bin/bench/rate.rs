//! How many packets a second leave with and without each program, and with a packet socket that reads them all.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use tcpwatch_tests::lab::Lab;
use tcpwatch_tests::note;

use crate::addresses;
use crate::candidate::{Candidate, INTERFACE, ROOM, SOURCE, lab_source};
use crate::clock::Pinned;
use crate::report::{Budget, Line};
use crate::sender::{Popularity, Sender};
use crate::statistics::{median, quantile};

/// Short measurements of each kind, in turn and in alternating order.
const SLICES: usize = 40;
const DESTINATIONS: usize = 1_000;
const CASE: &str = "packets a second";
const KINDS: [&str; 4] = ["nothing attached", "empty", "tcpwatch", "tcpdump running"];

/// All four kinds. The median of the slices is printed; the ratio is of the first quartiles of their times: others on the
/// machine can only make a slice longer, never shorter, so the faster slices are the less disturbed ones, and a quarter of
/// them is enough not to depend on a single one.
pub fn measure(lab: &Lab, packets: usize) -> Vec<Line> {
    let mut dropped = 0;
    let mut seconds = vec![Vec::new(); KINDS.len()];
    lab.near.within(|| {
        let sender = Sender::new(SOURCE, &addresses::sequential(DESTINATIONS), Popularity::Uniform);
        let mut empty = Candidate::empty();
        let mut tcpwatch = Candidate::tcpwatch("tcpwatch", ROOM, lab_source(), &[]);
        tcpwatch.warm_up(&sender);
        for slice in 0..SLICES {
            for step in 0..KINDS.len() {
                let kind = if slice % 2 == 0 {
                    step
                } else {
                    KINDS.len() - 1 - step
                };
                let _link = match kind {
                    1 => Some(empty.attach(INTERFACE)),
                    2 => Some(tcpwatch.attach(INTERFACE)),
                    _ => None,
                };
                let tcpdump = (kind == 3).then(|| Tcpdump::start(lab));
                seconds[kind].push(time(&sender, packets));
                dropped += tcpdump.map_or(0, Tcpdump::stop);
            }
        }
    });
    lines(&seconds, packets, dropped)
}

fn time(sender: &Sender, packets: usize) -> f64 {
    let _pinned = Pinned::new();
    sender.all_once();
    let started = Instant::now();
    sender.send(0, packets);
    started.elapsed().as_secs_f64()
}

fn lines(seconds: &[Vec<f64>], packets: usize, dropped: u64) -> Vec<Line> {
    let least_disturbed = |kind: usize| quantile(&seconds[kind], 0.25);
    let mut lines: Vec<Line> = KINDS
        .iter()
        .enumerate()
        .map(|(kind, name)| {
            let mut line = Line::alone(CASE, name, packets as f64 / median(&seconds[kind]), "/s");
            line.ratio = Some(least_disturbed(0) / least_disturbed(kind));
            line.ratio_of = Some("nothing");
            line
        })
        .collect();
    let ratio = lines[2].ratio.unwrap_or(f64::NAN);
    lines[2]
        .budgets
        .push(Budget::at_least(0.98, "of the rate with nothing attached", ratio));
    let sent = (SLICES * (packets + DESTINATIONS)) as f64;
    let share = dropped as f64 / sent * 100.0;
    lines.push(Line::alone(CASE, "dropped by the kernel for tcpdump", share, "%"));
    lines
}

/// The program of that name, which gets every packet through a packet socket (AF_PACKET). Killed when dropped.
struct Tcpdump {
    child: Child,
    says: BufReader<ChildStderr>,
}

impl Tcpdump {
    /// Starts it in the near namespace and waits until it listens.
    fn start(lab: &Lab) -> Self {
        // It stays root (-Z): a change of user would make the kernel forget to kill it when this program dies.
        let mut child = Command::new("ip")
            .args([
                "netns",
                "exec",
                lab.near.name(),
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
            ])
            .args(["tcpdump", "-Z", "root", "-n", "-i", INTERFACE, "-w", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip (package iproute2) can be started");
        let says = BufReader::new(child.stderr.take().unwrap());
        let mut tcpdump = Self { child, says };
        let listens = tcpdump.lines_until("listening on");
        assert!(listens.is_some(), "tcpdump does not listen: is it installed?");
        tcpdump
    }

    /// Ends it and returns how many packets the kernel had no room for.
    fn stop(mut self) -> u64 {
        let pid = self.child.id().cast_signed();
        // SAFETY: the child has not been waited for, so the identifier is still its own.
        let result = unsafe { libc::kill(pid, libc::SIGINT) };
        assert_eq!(result, 0, "tcpdump is still there");
        self.lines_until("dropped by kernel")
            .and_then(|line| line.split(' ').next()?.parse().ok())
            .expect("tcpdump says what was dropped")
    }

    fn lines_until(&mut self, text: &str) -> Option<String> {
        self.says
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains(text))
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            note(format_args!("ending tcpdump: {error}"));
        }
    }
}
