//! Loads the eBPF object with the operator's sizes.

use aya::maps::{MapData, RingBuf};
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use tcpwatch_common::names::FLOWS;

use super::attach::{Direction, LinkLayer};
use super::bell::Bell;
use super::capacity::Capacity;
use super::front::Layout;
use super::pins::{PinError, Pins};
use super::requirements::{self, RequirementError};
use super::samples::Samples;
use super::tables::{KernelTables, TableError, call_error, map_error};

/// Connections and questions for each CPU that are remembered at least.
const FLOWS_OF_A_CPU: u32 = 1024;

/// The compiled programs; empty in a build without the BPF toolchain.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tcpwatch-egress"));

/// The programs that `cargo xtask bench` compares with. Nothing in the daemon refers to them, so the linker leaves them out.
pub static COMPARISON: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tcpwatch-comparison"));

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The build had no eBPF compiler.
    #[error(
        "this build has no eBPF program in it (TCPWATCH_EBPF_STUB was set): build it again with `cargo xtask run`"
    )]
    Stub,
    /// The object or its maps.
    #[error("cannot load the eBPF program")]
    Object(#[from] aya::EbpfError),
    /// A program that the object should have.
    #[error("the eBPF object has no program {0}")]
    MissingProgram(&'static str),
    /// The verifier or the system call.
    #[error("the kernel refuses the eBPF program {name}")]
    Program {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: ProgramError,
    },
    /// The same, without a capability that makes the verifier less strict.
    #[error(
        "this kernel refuses the eBPF program {name} without CAP_PERFMON: give tcpwatch that besides CAP_BPF and \
         CAP_NET_ADMIN, with --pin it has given it up before the first packet is counted"
    )]
    WithoutPerfmon {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: ProgramError,
    },
    /// The kernel does not say what it is.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The eBPF program's log.
    #[cfg(feature = "kernel-log")]
    #[error("cannot follow the eBPF program's log")]
    Log(#[from] aya_log::Error),
    /// The descriptor of that log.
    #[cfg(feature = "kernel-log")]
    #[error("cannot wait for the eBPF program's log")]
    LogSocket(#[source] std::io::Error),
    /// The maps.
    #[error(transparent)]
    Tables(#[from] TableError),
    /// The directory that is to keep them.
    #[error(transparent)]
    Pins(#[from] Box<PinError>),
}

/// The programs, to be loaded and attached.
#[derive(Debug)]
pub struct Programs {
    ebpf: Ebpf,
    /// Those for PREEMPT_RT kernels.
    real_time: bool,
}

/// Makes the maps for this kernel, and the programs ready. Nothing counts until a program is attached.
///
/// # Errors
/// No right, or no memory for the tables.
pub fn load(capacity: Capacity) -> Result<(Programs, KernelTables), LoadError> {
    load_pinned(capacity, None)
}

/// The same; with `pins`, the maps outlive the process.
///
/// # Errors
/// As [`load`]; the maps cannot be pinned.
pub fn load_pinned(
    capacity: Capacity,
    pins: Option<&mut Pins>,
) -> Result<(Programs, KernelTables), LoadError> {
    let real_time = requirements::is_preempt_rt()?;
    load_laid_out(capacity, real_time, &layout(capacity, real_time)?, pins)
}

/// The same for a kernel that does or does not let tasks interrupt each other inside the egress hook.
///
/// # Errors
/// As [`load`].
pub fn load_for(capacity: Capacity, real_time: bool) -> Result<(Programs, KernelTables), LoadError> {
    load_laid_out(capacity, real_time, &layout(capacity, real_time)?, None)
}

/// Loads programs and maps for CPUs with numbers below `cpus`, of which these have a region of the front table. For the tests
/// of machines that this one is not.
///
/// # Errors
/// As [`load`].
#[doc(hidden)]
pub fn load_on(
    capacity: Capacity,
    real_time: bool,
    cpus: u32,
    with_region: &[u32],
) -> Result<(Programs, KernelTables), LoadError> {
    let layout = Layout {
        cpus,
        with_region: with_region.to_vec(),
        bits: capacity.set_bits(with_region.len()),
    };
    load_laid_out(capacity, real_time, &layout, None)
}

fn load_laid_out(
    capacity: Capacity,
    real_time: bool,
    layout: &Layout,
    pins: Option<&mut Pins>,
) -> Result<(Programs, KernelTables), LoadError> {
    if OBJECT.is_empty() {
        return Err(LoadError::Stub);
    }
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("CPUS", layout.cpus);
    for map in ["FRONT4", "FRONT6", "BESIDE4", "BESIDE6"] {
        loader.map_max_entries(map, layout.sets());
    }
    for map in ["SPILL_0", "SPILL_1"] {
        loader.map_max_entries(map, capacity.spill.max(1));
    }
    // The kernel keeps some hundred entries for each CPU.
    for map in ["FLOWS", "QUIC_FLOWS"] {
        loader.map_max_entries(map, FLOWS.max(layout.cpus.saturating_mul(FLOWS_OF_A_CPU)));
    }
    if capacity.samples > 0 {
        loader.map_max_entries("SAMPLES", capacity.samples);
    }
    for map in ["BANS_0", "BANS_1", "BAN_COUNTS_0", "BAN_COUNTS_1"] {
        loader.map_max_entries(map, capacity.room_for_bans());
    }
    // No BTF: the programs are not relocated against the running kernel, and reading vmlinux's costs start-up time.
    let mut ebpf = loader.btf(None).load(OBJECT)?;
    if let Some(pins) = pins {
        pins.pin_tables(&ebpf).map_err(Box::new)?;
    }
    let tables = KernelTables::take(&mut ebpf, layout.clone(), capacity.spill)?;
    Ok((Programs { ebpf, real_time }, tables))
}

fn layout(capacity: Capacity, real_time: bool) -> Result<Layout, LoadError> {
    let possible = possible_cpus().map_err(call_error("count the possible CPUs", POSSIBLE_CPUS))?;
    let online = if real_time {
        // Nothing belongs to one CPU alone there.
        Vec::new()
    } else {
        aya::util::online_cpus().map_err(|(file, error)| call_error("count the CPUs", file)(error))?
    };
    Ok(Layout {
        bits: capacity.set_bits(online.len()),
        cpus: online.iter().fold(possible, |most, cpu| most.max(cpu + 1)),
        with_region: online,
    })
}

const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// One more than the highest number a CPU of this machine can have.
fn possible_cpus() -> std::io::Result<u32> {
    let text = std::fs::read_to_string(POSSIBLE_CPUS)?;
    after_the_last(&text).ok_or_else(|| std::io::Error::other(format!("{text:?} is no list of CPUs")))
}

/// Of a list like `0-3,8`.
fn after_the_last(list: &str) -> Option<u32> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}

/// Hands what the eBPF program logs to the daemon's own log.
#[cfg(feature = "kernel-log")]
struct KernelLog;

#[cfg(feature = "kernel-log")]
impl log::Log for KernelLog {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!("eBPF: {}", record.args());
    }

    fn flush(&self) {}
}

impl Programs {
    /// Follows the eBPF program's log until the runtime ends. Must be called inside the runtime.
    ///
    /// # Errors
    /// The object has no log.
    #[cfg(feature = "kernel-log")]
    pub fn follow_log(&mut self) -> Result<(), LoadError> {
        let logger = aya_log::EbpfLogger::init_with_logger(&mut self.ebpf, KernelLog)?;
        // SAFETY: the logger owns its descriptor and keeps it for as long as it lives.
        let registered = unsafe {
            tokio::io::unix::AsyncFd::register_with_interest(logger, tokio::io::Interest::READABLE)
        };
        let mut logger = registered.map_err(|error| LoadError::LogSocket(error.into()))?;
        tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        });
        Ok(())
    }

    /// By which the programs wake the daemon. Must be called inside the runtime.
    ///
    /// # Errors
    /// The object has no such map, or it was taken already; it cannot be waited for.
    pub fn bell(&mut self) -> Result<Bell, LoadError> {
        const MAP: &str = "BELL";
        Bell::new(self.ring(MAP)?).map_err(|source| call_error("wait for", MAP)(source).into())
    }

    /// The samples that the programs take.
    ///
    /// # Errors
    /// The object has no such map, or they were taken already.
    pub fn samples(&mut self) -> Result<Samples, LoadError> {
        Ok(Samples::new(self.ring("SAMPLES")?))
    }

    fn ring(&mut self, name: &'static str) -> Result<RingBuf<MapData>, TableError> {
        let map = self
            .ebpf
            .take_map(name)
            .ok_or_else(|| TableError::Missing(name.to_owned()))?;
        RingBuf::try_from(map).map_err(map_error("map the ring buffer into memory", name))
    }

    /// Loads every program that can be asked for; those for arriving packets only with `incoming`.
    ///
    /// # Errors
    /// As [`Self::get_mut`].
    pub fn load_all(&mut self, incoming: bool) -> Result<(), LoadError> {
        for layer in [LinkLayer::Ethernet, LinkLayer::None] {
            self.get_mut(layer, Direction::Egress)?;
            if incoming {
                self.get_mut(layer, Direction::Ingress)?;
            }
        }
        Ok(())
    }

    /// The program for devices of this kind. The kernel checks it when it is first asked for, which takes it a tenth of a second:
    /// most hosts have devices of one kind only.
    ///
    /// # Errors
    /// The object does not have it, or the kernel refuses it.
    pub fn get_mut(
        &mut self,
        layer: LinkLayer,
        direction: Direction,
    ) -> Result<&mut SchedClassifier, LoadError> {
        let name = layer.program(direction, self.real_time);
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or(LoadError::MissingProgram(name))?;
        let refused = |source| LoadError::Program { name, source };
        let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
        if program.fd().is_err() {
            program.load().map_err(|source| match source {
                ProgramError::LoadError { .. } if !requirements::has_perfmon() => {
                    LoadError::WithoutPerfmon { name, source }
                }
                source => LoadError::Program { name, source },
            })?;
        }
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use super::after_the_last;

    #[test]
    fn the_last_number_of_a_list_of_cpus_counts() {
        assert_eq!(after_the_last("0-127\n"), Some(128));
        assert_eq!(after_the_last("0\n"), Some(1));
        assert_eq!(after_the_last("0-3,8-9,12\n"), Some(13));
        assert_eq!(after_the_last("\n"), None);
    }
}
