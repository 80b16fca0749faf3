//! Packets for a running tcpwatch that never leave the host: its own attached program is run on them by
//! BPF_PROG_TEST_RUN. So public addresses can be counted without a packet being sent.

use std::borrow::Cow;
use std::ffi::CString;
use std::net::Ipv4Addr;

use aya::programs::{SchedClassifier, TcAttachType, TestRun as _, TestRunOptions};

use crate::counter::Skb;
use crate::frame;
use crate::namespace::Namespace;

/// The program that is attached to an interface by TCX.
#[derive(Debug)]
pub struct Injector {
    program: SchedClassifier,
    ifindex: u32,
}

impl Injector {
    /// Finds the only program on the egress hook of `interface`.
    ///
    /// # Panics
    ///
    /// When there is none, or more than one.
    #[track_caller]
    pub fn new(namespace: &Namespace, interface: &str) -> Self {
        let (mut programs, ifindex) = namespace.within(|| {
            let (_, programs) =
                SchedClassifier::query_tcx(interface, TcAttachType::Egress).expect("the hook can be asked");
            let name = CString::new(interface).expect("no zero in a name");
            // SAFETY: a terminated string.
            (programs, unsafe { libc::if_nametoindex(name.as_ptr()) })
        });
        assert_eq!(programs.len(), 1, "one program on the hook");
        let program = SchedClassifier::from_program_info(programs.remove(0), Cow::Borrowed("tcpwatch_l2"))
            .expect("a classifier");
        Self { program, ifindex }
    }

    /// Has the program count `times` UDP packets with `payload` bytes. Must be called inside the namespace.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    #[track_caller]
    pub fn udp(&self, source: &str, destination: Ipv4Addr, payload: usize, times: u32) {
        let packet = frame::ethernet(
            0x0800,
            &frame::ipv4(source, &destination.to_string(), 17, &frame::udp(payload)),
        );
        let context = Skb {
            ifindex: self.ifindex,
            ..Skb::default()
        }
        .context();
        let options = TestRunOptions {
            data_in: Some(&packet),
            ctx_in: Some(&context),
            repeat: times,
            ..TestRunOptions::new()
        };
        self.program.test_run(options).expect("every run is done");
    }
}
