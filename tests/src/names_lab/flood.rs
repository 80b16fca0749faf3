//! Questions to a resolver as fast as one thread can ask them, and a resolver that answers as fast.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cpu::pin;
use crate::names_lab::dns::{self, Kind, Question};
use crate::names_lab::{NamesLab, RESOLVER};
use crate::traffic::set_option;

/// The address in every answer.
pub const ANSWER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The name in every question.
pub const NAME: &str = "flood.example.com";

/// How soon the resolver looks whether it has ended.
const LOOK: Duration = Duration::from_millis(50);
const RECEIVE_BUFFER_BYTES: i32 = 16 << 20;
/// Sockets that take turns, so that a number comes up again late.
const SOCKETS: usize = 8;
/// Questions between two looks at the clock.
const BATCH: u64 = 64;

/// The resolver at [`RESOLVER`]: answers every question with [`ANSWER`]. It ends with this value.
#[derive(Debug)]
pub struct Resolver {
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Starts it on the second CPU.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub fn start(names: &NamesLab) -> Self {
        let socket = names
            .targets()
            .within(|| UdpSocket::bind((RESOLVER, dns::PORT)).expect("the port is free"));
        set_option(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            RECEIVE_BUFFER_BYTES,
        );
        socket.set_read_timeout(Some(LOOK)).expect("not zero");
        let (ended, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (end, count) = (Arc::clone(&ended), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            pin(1);
            answer(&socket, &end, &count);
        });
        Self {
            ended,
            answered,
            thread: Some(thread),
        }
    }

    /// How many answers it has given.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            crate::note(format_args!("the resolver has panicked"));
        }
    }
}

fn answer(socket: &UdpSocket, ended: &AtomicBool, answered: &AtomicU64) {
    let question = Question::new(NAME, Kind::A);
    let mut answer = question.answer(&[ANSWER.into()], 60);
    let mut asked = [0; 512];
    while !ended.load(Ordering::Relaxed) {
        match socket.recv_from(&mut asked) {
            Ok((_, from)) => {
                answer[..2].copy_from_slice(&asked[..2]);
                socket.send_to(&answer, from).expect("the answer is sent");
                answered.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("resolver: {error}"),
        }
    }
}

/// What was asked. The sockets stay open as long as this value: to an answer without one the kernel would say so, by ICMP.
#[derive(Debug)]
pub struct Asked {
    /// How many questions.
    pub questions: u64,
    /// Bytes of each of their frames.
    pub frame_bytes: u64,
    _sockets: Vec<UdpSocket>,
}

/// Asks for as long as `limit` on the first CPU, at most `most` questions, each with a number of its own among the last
/// half million, and reads no answer.
///
/// # Panics
///
/// When a question cannot be sent.
pub fn ask(names: &NamesLab, limit: Duration, most: u64) -> Asked {
    let server: IpAddr = RESOLVER.parse().expect("a literal address");
    let mut message = Question::new(NAME, Kind::A).message();
    let frame_bytes = crate::traffic::frame_bytes(server, message.len());
    names.server().within(|| {
        pin(0);
        let sockets: Vec<UdpSocket> = (0..SOCKETS)
            .map(|_| dns::asking(SocketAddr::from((server, dns::PORT))))
            .collect();
        let began = Instant::now();
        let mut questions = 0;
        while questions < most && began.elapsed() < limit {
            for _ in 0..BATCH {
                let socket = &sockets[questions as usize % SOCKETS];
                let number = (questions / SOCKETS as u64) as u16;
                message[..2].copy_from_slice(&number.to_be_bytes());
                socket.send(&message).expect("the question is sent");
                questions += 1;
            }
        }
        Asked {
            questions,
            frame_bytes,
            _sockets: sockets,
        }
    })
}
