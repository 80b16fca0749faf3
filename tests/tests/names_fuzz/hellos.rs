//! ClientHellos in TLS records.

use tcpwatch_tests::fuzz::{Random, blind};

use crate::forge::{ENCRYPTED_CLIENT_HELLO, client_hello, host_name, of_rustls, records, server_names};

/// Names, honest and hostile.
const NAMES: [&[u8]; 16] = [
    b"www.example.com",
    b"a.example",
    b"WWW.EXAMPLE.ORG.",
    b"_x.a-b.example",
    b"xn--bcher-kva.example",
    b"localhost",
    b"cloudflare-ech.com",
    b"192.0.2.1",
    b"2001:db8::1",
    b"a\x1b[2J.example",
    b"a\r\nb.example",
    b"a..b",
    b"",
    b".",
    b"\xff\xfe.example",
    b"=1+1|cmd",
];

/// A name: one of those, or one of random labels, mostly good and of any length.
pub fn name(random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0 {
        return random.pick(&NAMES).to_vec();
    }
    let labels = 1 + random.below(6);
    let labels: Vec<Vec<u8>> = (0..labels)
        .map(|_| {
            let most = if random.below(8) == 0 { 70 } else { 12 };
            let length = 1 + random.below(most);
            let mut label: Vec<u8> = (0..length).map(|_| *random.pick(b"abcXYZ019-_")).collect();
            if random.below(20) == 0 {
                blind::byte(&mut label, random);
            }
            label
        })
        .collect();
    labels.join(&b'.')
}

/// A ClientHello, without records.
pub fn hello(random: &mut Random) -> Vec<u8> {
    let count = random.below(8);
    let mut extensions: Vec<_> = (0..count)
        .map(|_| match random.below(6) {
            0 => (
                0x0a0a | u16::from(random.byte() & 0xf0) << 8,
                vec![0; random.below(3)],
            ),
            1 => (21, vec![0; random.below(2500)]),
            2 => (ENCRYPTED_CLIENT_HELLO, vec![random.byte(); 180]),
            3 => (51, vec![random.byte(); 1200]),
            _ => (
                u16::from(random.byte()) + 1,
                vec![random.byte(); random.below(60)],
            ),
        })
        .collect();
    let at = random.below(extensions.len() + 1);
    let named = match random.below(10) {
        0 => server_names(&[(random.byte(), b"odd"), (0, &name(random))]),
        1 => server_names(&[(0, &name(random)), (0, &name(random))]),
        _ => host_name(&name(random)),
    };
    if random.below(10) > 0 {
        extensions.insert(at, named);
    }
    client_hello(&extensions)
}

/// In records of any size.
pub fn invent(random: &mut Random) -> Vec<u8> {
    if random.below(50) == 0 {
        return of_rustls("www.example.com");
    }
    let hello = hello(random);
    let any = 1 + random.below(hello.len());
    records(&hello, *random.pick(&[1, 7, 100, any, 1 << 14, 1 << 14, 1 << 14]))
}

/// Another length, type, record or order.
pub fn change(stream: &mut Vec<u8>, random: &mut Random) {
    match random.below(5) {
        0 => claim(stream, random),
        1 => {
            // The name's own.
            let at = stream.windows(2).position(|bytes| bytes == [0, 0]).unwrap_or(0);
            let length = random.below(12);
            blind::put(stream, at + length, &[random.byte()]);
        }
        2 => {
            let at = random.below(stream.len() + 1);
            let kind = *random.pick(&[20, 21, 22, 22, 22, 23]);
            stream.splice(at..at, [kind, 3, random.byte() & 3, 0, random.byte() & 31]);
        }
        3 => {
            // In other records.
            let handshake: Vec<u8> = stream.iter().skip(5).copied().collect();
            *stream = records(&handshake, 1 + random.below(300));
        }
        _ => {
            let name = name(random);
            let at = random.below(stream.len() + 1);
            blind::put(stream, at, &name);
        }
    }
}

/// A length somewhere that is nearly, or not at all, what follows.
pub fn claim(input: &mut [u8], random: &mut Random) {
    if input.is_empty() {
        return;
    }
    let at = random.below(input.len());
    let left = input.len() - at;
    let any = random.below(1 << 16);
    let length = *random.pick(&[
        0,
        1,
        2,
        4,
        left.saturating_sub(1),
        left,
        left + 1,
        0xff,
        0xffff,
        any,
    ]) as u16;
    match random.below(2) {
        0 => blind::put(input, at, &length.to_be_bytes()),
        _ => blind::put(input, at, &[length as u8]),
    }
}
