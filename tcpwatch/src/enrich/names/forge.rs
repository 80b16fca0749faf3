//! Makes what the parsers read, honest and hostile, for their tests; also those of the package `tcpwatch-tests`, which
//! has it by its path. So it knows nothing of the parsers.

use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rustls::crypto::ring::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider};
use rustls::quic::{Keys, Version};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Side};

/// The extension `server_name`.
pub const SERVER_NAME: u16 = 0;
/// The extension `encrypted_client_hello` (RFC 9849 section 5).
pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// `bytes` with their length in front.
pub fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// An extension that names servers, each with the type of its name.
pub fn server_names(names: &[(u8, &[u8])]) -> (u16, Vec<u8>) {
    let entries = names
        .iter()
        .map(|(kind, name)| [&[*kind][..], &vector16(name)].concat());
    (SERVER_NAME, vector16(&entries.collect::<Vec<_>>().concat()))
}

/// An extension that names one host.
pub fn host_name(name: &[u8]) -> (u16, Vec<u8>) {
    server_names(&[(0, name)])
}

/// A ClientHello with its header.
pub fn client_hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let extensions = extensions
        .iter()
        .map(|(kind, data)| [&kind.to_be_bytes()[..], &vector16(data)].concat());
    let body = [
        &[3, 3][..],
        &[0x52; 32],
        &[32],
        &[0x1d; 32],
        // GREASE (RFC 8701) and the suites of TLS 1.3.
        &vector16(&[0x3a, 0x3a, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03]),
        &[1, 0],
        &vector16(&extensions.collect::<Vec<_>>().concat()),
    ]
    .concat();
    message(1, &body)
}

/// A message of the handshake.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    assert_eq!(length[0], 0);
    [&[kind], &length[1..], body].concat()
}

/// A handshake in records of at most `fragment` bytes.
pub fn records(handshake: &[u8], fragment: usize) -> Vec<u8> {
    let records = handshake
        .chunks(fragment)
        .map(|piece| [&[22, 3, 1][..], &vector16(piece)].concat());
    records.collect::<Vec<_>>().concat()
}

fn client_config() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

/// What rustls sends first.
pub fn of_rustls(name: &str) -> Vec<u8> {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(client_config(), name).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    sent
}

/// The ClientHello that rustls sends in QUIC, without records.
pub fn of_rustls_in_quic(name: &str) -> Vec<u8> {
    let name = name.to_owned().try_into().unwrap();
    let mut client =
        rustls::quic::ClientConnection::new(client_config(), Version::V1, name, vec![4, 1, 0]).unwrap();
    let mut sent = Vec::new();
    assert!(client.write_hs(&mut sent).is_none());
    sent
}

/// An integer of variable length, in the shortest form.
pub fn varint(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (mut shortest, mark) = match value {
        0..=0x3f => (bytes[7..].to_vec(), 0),
        0x40..=0x3fff => (bytes[6..].to_vec(), 0x40),
        0x4000..=0x3fff_ffff => (bytes[4..].to_vec(), 0x80),
        _ => (bytes.to_vec(), 0xc0),
    };
    shortest[0] |= mark;
    shortest
}

/// A CRYPTO frame.
pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset as u64), &varint(data.len() as u64), data].concat()
}

/// An Initial to be sealed.
#[derive(Clone, Debug)]
pub struct Initial<'a> {
    pub is_v2: bool,
    /// Of which the keys are made.
    pub origin: &'a [u8],
    /// Which the header has.
    pub id: &'a [u8],
    pub token: &'a [u8],
    pub number: u32,
}

impl Default for Initial<'_> {
    fn default() -> Self {
        Self {
            is_v2: false,
            origin: b"original",
            id: b"original",
            token: b"",
            number: 0,
        }
    }
}

impl Initial<'_> {
    /// The packet with `frames` in it, its number in four bytes.
    pub fn seal(&self, frames: &[u8]) -> Vec<u8> {
        let (version, number_in_wire, first) = match self.is_v2 {
            false => (Version::V1, 1_u32, 0xc3),
            true => (Version::V2, 0x6b33_43cf, 0xd3),
        };
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let quic = suite.quic_suite().unwrap().quic;
        let keys = Keys::initial(version, suite, quic, self.origin, Side::Client).local;
        // The mask is made of what is 4 bytes behind the number's beginning.
        let mut payload = frames.to_vec();
        let header = [
            &[first][..],
            &number_in_wire.to_be_bytes(),
            &[u8::try_from(self.id.len()).unwrap()],
            self.id,
            &[0],
            &varint(self.token.len() as u64),
            self.token,
            &varint((4 + payload.len() + 16) as u64),
            &self.number.to_be_bytes(),
        ];
        let mut header = header.concat();
        let tag = keys
            .packet
            .encrypt_in_place(self.number.into(), &header, &mut payload)
            .unwrap();
        payload.extend_from_slice(tag.as_ref());
        let number_at = header.len() - 4;
        let (first, number) = header.split_at_mut(number_at);
        keys.header
            .encrypt_in_place(&payload[..16], &mut first[0], number)
            .unwrap();
        [header, payload].concat()
    }
}

/// A record of an answer.
pub fn record(owner: &str, seconds: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(owner).unwrap(), seconds, data)
}

/// An answer to the question for the addresses of `question`.
pub fn answer(question: &str, records: Vec<Record>) -> Message {
    let mut message = Message::new(4711, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(question).unwrap(), RecordType::A));
    message.add_answers(records);
    message
}
