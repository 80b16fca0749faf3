//! The capabilities that a running tcpwatch needs, and how it gives up all others for good.
//!
//! CAP_BPF and CAP_NET_ADMIN are needed to the end: tables are drained by bpf(2), policies written, programs attached again when
//! somebody removed them, or for an interface that comes later. CAP_PERFMON helps while the kernel checks the programs, and is had by
//! one thread, which ends with that ([`Loader`]).

use std::collections::HashSet;
use std::sync::mpsc;
use std::{io, thread};

use caps::errors::CapsError;
use caps::{CapSet, Capability};

/// A right that could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// What there is cannot be read.
    #[error("cannot read the capabilities of this process")]
    Read(#[source] CapsError),
    /// One of the sets.
    #[error("cannot give up the {set} capabilities: start tcpwatch without --pin, or find what forbids it")]
    GiveUp {
        /// Which set.
        set: &'static str,
        /// The cause.
        #[source]
        source: CapsError,
    },
    /// A later program could gain some.
    #[error("cannot give up to gain rights (no_new_privs)")]
    NoNewPrivileges(#[source] io::Error),
    /// For the programs.
    #[error("cannot start a thread: is TasksMax= or `ulimit -u` reached?")]
    Thread(#[source] io::Error),
    /// It has ended before its work.
    #[error("the thread that loads the eBPF programs has ended: please report it")]
    LoaderEnded,
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that has CAP_PERFMON besides what is needed to the end, for one job.
///
/// Without it, a kernel before the change "bpf: Fix narrow scalar spill onto 64-bit spilled scalar slots" (Linux 6.13) may refuse the
/// programs, as Debian's 6.1 does; others add barriers against speculative execution to them. But together with CAP_BPF it lets a
/// process read all of the kernel's memory, which is more than a service should be able to for months.
#[derive(Debug)]
pub struct Loader {
    jobs: mpsc::Sender<Job>,
}

impl Loader {
    /// To be called before [`give_up`]. None: this process has no such right.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start() -> Result<Option<Self>, RightsError> {
        let permitted = caps::read(None, CapSet::Permitted).map_err(RightsError::Read)?;
        if !permitted.contains(&Capability::CAP_PERFMON) {
            return Ok(None);
        }
        let (jobs, waiting) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                let mut kept = needed(&permitted);
                kept.insert(Capability::CAP_PERFMON);
                // One that could not give up the others does nothing with them.
                let alone = caps::set(None, CapSet::Effective, &kept)
                    .and_then(|()| caps::set(None, CapSet::Permitted, &kept));
                if alone.is_ok()
                    && let Ok(job) = waiting.recv()
                {
                    job();
                }
            })
            .map_err(RightsError::Thread)?;
        Ok(Some(Self { jobs }))
    }

    /// Does `job` there, and ends the thread.
    ///
    /// # Errors
    /// It has ended before.
    pub fn run<T: Send + 'static>(self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, RightsError> {
        let (answer, answers) = mpsc::channel();
        let job = Box::new(move || {
            // Whoever asked waits for it.
            answer.send(job()).unwrap_or_default();
        });
        self.jobs.send(job).map_err(|_ended| RightsError::LoaderEnded)?;
        answers.recv().map_err(|_ended| RightsError::LoaderEnded)
    }
}

/// Gives up every capability that is not needed, and with `for_children` also what programs that are started could gain. Names what
/// is left.
///
/// # Errors
/// One of them stays: nobody should rely on that it is gone.
pub fn give_up(for_children: bool) -> Result<String, RightsError> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(RightsError::Read)?;
    let kept = needed(&permitted);
    let failed = |set| move |source| RightsError::GiveUp { set, source };
    // What a program gets that somebody else starts here: nothing.
    caps::clear(None, CapSet::Ambient).map_err(failed("ambient"))?;
    caps::clear(None, CapSet::Inheritable).map_err(failed("inheritable"))?;
    if for_children {
        // Without the right to, systemd has set the bounds already, or nobody wants any.
        if permitted.contains(&Capability::CAP_SETPCAP) {
            let bounding = caps::read(None, CapSet::Bounding).map_err(RightsError::Read)?;
            for capability in bounding.difference(&kept) {
                caps::drop(None, CapSet::Bounding, *capability).map_err(failed("bounding"))?;
            }
        }
        rustix::thread::set_no_new_privs(true).map_err(|errno| RightsError::NoNewPrivileges(errno.into()))?;
    }
    caps::set(None, CapSet::Effective, &kept).map_err(failed("effective"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed("permitted"))?;
    Ok(named(&kept))
}

/// CAP_SYS_ADMIN stands for CAP_BPF where that is missing: in containers that are older than it.
fn needed(permitted: &HashSet<Capability>) -> HashSet<Capability> {
    let bpf = if permitted.contains(&Capability::CAP_BPF) {
        Capability::CAP_BPF
    } else {
        Capability::CAP_SYS_ADMIN
    };
    [bpf, Capability::CAP_NET_ADMIN]
        .into_iter()
        .filter(|capability| permitted.contains(capability))
        .collect()
}

fn named(capabilities: &HashSet<Capability>) -> String {
    let mut names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    names.sort();
    if names.is_empty() {
        "no capability".to_owned()
    } else {
        names.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_does_its_job_in_a_thread_of_its_own() {
        let here = thread::current().id();
        match Loader::start().unwrap() {
            Some(loader) => assert_ne!(loader.run(|| thread::current().id()).unwrap(), here),
            None => assert!(!caps::has_cap(None, CapSet::Permitted, Capability::CAP_PERFMON).unwrap()),
        }
    }

    #[test]
    fn two_capabilities_are_kept_and_an_older_one_only_in_place_of_them() {
        let of = |permitted: &[Capability]| named(&needed(&permitted.iter().copied().collect()));
        let all = [
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_NET_ADMIN,
            Capability::CAP_BPF,
            Capability::CAP_PERFMON,
            Capability::CAP_DAC_OVERRIDE,
        ];
        assert_eq!(of(&all), "CAP_BPF and CAP_NET_ADMIN");
        assert_eq!(of(&all[..2]), "CAP_NET_ADMIN and CAP_SYS_ADMIN");
        assert_eq!(of(&[Capability::CAP_CHOWN]), "no capability");
    }
}
