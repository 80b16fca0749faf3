//! Answers that nobody asked for give no address a name: whoever can send a packet to this host could name any address.

use std::io::ErrorKind;
use std::net::UdpSocket;

use tcpwatch_tests::named::{Named, names_of};
use tcpwatch_tests::names_lab::dns::{self, Kind, Question};
use tcpwatch_tests::names_lab::{CLIENT_V4, NamesLab, RESOLVER, SERVER_V4};
use tcpwatch_tests::namespace::Namespace;
use tcpwatch_tests::wait::{self, PATIENCE};

use crate::address;

/// A question that the server really asks the resolver, which does not answer by itself.
struct Asked {
    question: Question,
    socket: UdpSocket,
}

impl Asked {
    fn new(names: &NamesLab, name: &str) -> Self {
        let question = Question::new(name, Kind::A);
        let socket = names
            .server()
            .within(|| dns::asking((address(RESOLVER), dns::PORT).into()));
        socket.send(&question.message()).unwrap();
        Self { question, socket }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }
}

/// Sends a datagram out of the namespace from this address and port. The port may be in use for a moment although the last socket on it
/// is closed: a process that another test starts has a copy of every descriptor until it executes its program.
fn send(namespace: &Namespace, from: (&str, u16), to: (&str, u16), message: &[u8]) {
    let socket = namespace.within(|| {
        wait::until_some(PATIENCE, "the port is free", || {
            match UdpSocket::bind((address(from.0), from.1)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => None,
                bound => Some(bound.unwrap()),
            }
        })
    });
    socket.send_to(message, (address(to.0), to.1)).unwrap();
}

const SERVER: &str = tcpwatch_tests::lab::NEAR_V4;

#[test]
fn only_the_answer_to_a_question_names_an_address() {
    let names = NamesLab::new();
    let before = Asked::new(&names, "before.example.com");
    let watch = names.watch(["--names", "dns"]);
    let targets = names.targets();
    // Every answer is a good one, but for the one thing.
    let answer = |question: &Question, to: &str| question.answer(&[address(to)], 60);

    let good = Asked::new(&names, "good.example.com");
    send(
        targets,
        (RESOLVER, 53),
        (SERVER, good.port()),
        &answer(&good.question, "198.51.100.1"),
    );

    let asked = Asked::new(&names, "source.example.com");
    let message = answer(&asked.question, "198.51.100.2");
    send(targets, ("192.0.2.54", 53), (SERVER, asked.port()), &message);

    let asked = Asked::new(&names, "port.example.com");
    let message = answer(&asked.question, "198.51.100.3");
    send(targets, (RESOLVER, 5353), (SERVER, asked.port()), &message);

    let asked = Asked::new(&names, "number.example.com");
    let guessed = Question {
        id: asked.question.id ^ 0x8000,
        ..asked.question.clone()
    };
    send(
        targets,
        (RESOLVER, 53),
        (SERVER, asked.port()),
        &answer(&guessed, "198.51.100.4"),
    );

    let asked = Asked::new(&names, "socket.example.com");
    let message = answer(&asked.question, "198.51.100.5");
    send(targets, (RESOLVER, 53), (SERVER, asked.port() ^ 1), &message);

    let unsolicited = Question::new("unsolicited.example.com", Kind::A);
    send(
        targets,
        (RESOLVER, 53),
        (SERVER, 40_001),
        &answer(&unsolicited, "198.51.100.6"),
    );

    // The resolver's own question to this host, with an answer in it.
    let asked = Asked::new(&names, "question.example.com");
    let mut message = answer(&asked.question, "198.51.100.7");
    message[2] &= 0x7f;
    send(targets, (RESOLVER, 53), (SERVER, asked.port()), &message);

    let message = answer(&before.question, "198.51.100.8");
    send(targets, (RESOLVER, 53), (SERVER, before.port()), &message);

    let mut udp = names.lab.udp_v4();
    for last in 1..=8 {
        udp.send(address(&format!("198.51.100.{last}")), 10);
    }
    let records = watch.stop().books();
    assert_eq!(
        names_of(&records, "198.51.100.1"),
        Some(Named::dns(&["good.example.com"])),
        "the control"
    );
    for (last, forged) in [
        (2, "from a server that was not asked"),
        (3, "from another port"),
        (4, "with another number"),
        (5, "to another socket"),
        (6, "without a question"),
        (7, "that is none"),
        (8, "to a question from before"),
    ] {
        let to = format!("198.51.100.{last}");
        assert_eq!(names_of(&records, &to), None, "an answer {forged}");
    }
}

/// A host that is a name server itself answers its clients; those answers say nothing of where it goes.
#[test]
fn answers_that_this_host_gives_name_nothing() {
    let names = NamesLab::new();
    let client = names
        .clients
        .within(|| UdpSocket::bind((CLIENT_V4, 40_000)).unwrap());
    let server = names
        .server()
        .within(|| UdpSocket::bind((SERVER_V4, 53)).unwrap());
    let watch = names.watch(["--names", "dns"]);
    let question = Question::new("mine.example.com", Kind::A);
    client.send_to(&question.message(), (SERVER_V4, 53)).unwrap();
    let mut buffer = [0; 512];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..length], question.message());
    server
        .send_to(&question.answer(&[address("198.51.100.1")], 60), from)
        .unwrap();
    // A client that answers to the port of the name server.
    client
        .send_to(&question.answer(&[address("198.51.100.2")], 60), (SERVER_V4, 53))
        .unwrap();
    let mut udp = names.lab.udp_v4();
    for last in 1..=2 {
        udp.send(address(&format!("198.51.100.{last}")), 10);
    }
    let records = watch.stop().books();
    assert_eq!(names_of(&records, "198.51.100.1"), None);
    assert_eq!(names_of(&records, "198.51.100.2"), None);
}

/// What is no name is no name in a record either, whoever says it.
#[test]
fn an_answer_with_a_name_of_strange_bytes_names_nothing() {
    let names = NamesLab::new();
    let watch = names.watch(["--names", "dns"]);
    for (last, name) in [
        (1, "es\u{1b}[31mcape.example.com"),
        (2, "blank in.example.com"),
        (3, "new\nline.example.com"),
        (4, "quote\".example.com"),
        (5, "br\u{fc}cke.example.com"),
        (6, "192.0.2.1"),
        // The control: as browsers write the name before.
        (7, "xn--brcke-kva.example.com"),
    ] {
        let asked = Asked::new(&names, name);
        let message = asked
            .question
            .answer(&[address(&format!("198.51.100.{last}"))], 60);
        send(names.targets(), (RESOLVER, 53), (SERVER, asked.port()), &message);
    }
    let mut udp = names.lab.udp_v4();
    for last in 1..=7 {
        udp.send(address(&format!("198.51.100.{last}")), 10);
    }
    let records = watch.stop().books();
    for last in 1..=6 {
        assert_eq!(names_of(&records, &format!("198.51.100.{last}")), None, "{last}");
    }
    assert_eq!(
        names_of(&records, "198.51.100.7"),
        Some(Named::dns(&["xn--brcke-kva.example.com"]))
    );
}
