//! Where our program stands among others on its hook: a TCX program before it that lets a packet pass or drops it has the last word.

use aya::programs::loaded_programs;

use super::clsact::is_ours;
use super::{AttachError, Attacher, Attachment, Direction, Hook, clsact};
use crate::kernel::bpf;

/// What all of our programs are called.
const OURS: &str = "tcpwatch_";

/// Where our program stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nowhere: somebody has removed it.
    Gone,
    /// Behind these programs of others, by the kernel's numbers.
    Behind(Vec<u32>),
    /// Before all others but another tcpwatch, which lets every packet go on; or by a classic filter, which keeps its place.
    First,
}

impl Attacher {
    /// Where the program stands: others may remove what they do not know, and come before it.
    ///
    /// # Errors
    /// The hook cannot be looked at.
    pub async fn standing(
        &self,
        attachment: &Attachment,
        interface: &str,
        ifindex: u32,
    ) -> Result<Standing, AttachError> {
        match attachment.hook {
            Hook::Tcx => {
                let programs = bpf::tcx_programs(ifindex, attachment.direction == Direction::Ingress)
                    .map_err(|source| AttachError::Query {
                        interface: interface.to_owned(),
                        source,
                    })?;
                Ok(among(&programs, attachment.program_id, is_tcpwatch))
            }
            Hook::Clsact => {
                let filters =
                    clsact::filters(&self.netlink, interface, ifindex, attachment.direction).await?;
                Ok(if filters.iter().any(is_ours) {
                    Standing::First
                } else {
                    Standing::Gone
                })
            }
        }
    }
}

/// Where `own` stands among `programs`, in the order in which they run.
fn among(programs: &[u32], own: u32, harmless: impl Fn(u32) -> bool) -> Standing {
    let Some(place) = programs.iter().position(|id| *id == own) else {
        return Standing::Gone;
    };
    let before: Vec<u32> = programs
        .iter()
        .take(place)
        .copied()
        .filter(|id| !harmless(*id))
        .collect();
    if before.is_empty() {
        Standing::First
    } else {
        Standing::Behind(before)
    }
}

/// Whether a program is a tcpwatch's. Only with CAP_SYS_ADMIN the kernel says so; else it counts as somebody else's.
fn is_tcpwatch(id: u32) -> bool {
    loaded_programs()
        .map_while(Result::ok)
        .find(|program| program.id() == id)
        .is_some_and(|program| program.name_as_str().is_some_and(|name| name.starts_with(OURS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_others_that_run_earlier_are_before_us() {
        let tcpwatch = |id| id == 9;
        assert_eq!(among(&[], 1, tcpwatch), Standing::Gone);
        assert_eq!(among(&[2, 3], 1, tcpwatch), Standing::Gone);
        assert_eq!(among(&[1, 2, 3], 1, tcpwatch), Standing::First);
        assert_eq!(among(&[9, 1, 3], 1, tcpwatch), Standing::First);
        assert_eq!(among(&[2, 9, 3, 1], 1, tcpwatch), Standing::Behind(vec![2, 3]));
    }
}
