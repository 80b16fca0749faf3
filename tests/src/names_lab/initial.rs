//! QUIC Initials made by hand from rustls' keys: of version 2, which quinn does not speak, and with a hello in as many
//! datagrams as a test wants. Nobody answers them.

use std::sync::Arc;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, Keys, Version};
use rustls::{ClientConfig, RootCertStore, Side};

use crate::names_lab::quic::PROTOCOL;

/// A client pads every datagram with an Initial to at least this (RFC 9000, section 14.1).
const DATAGRAM_BYTES: usize = 1200;
/// Of the authentication tag.
const TAG_BYTES: usize = 16;
/// A packet number of four bytes, and the length of two before it.
const NUMBER_BYTES: usize = 4;

/// A connection to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// 1 or 2.
    pub version: Version,
    /// The server name in the hello.
    pub name: &'a str,
    /// The client's connection identifier, up to 20 bytes.
    pub source_id: &'a [u8],
    /// In how many datagrams the hello is to be.
    pub datagrams: usize,
}

impl Opening<'_> {
    /// The datagrams, in the order of the hello's bytes.
    ///
    /// # Panics
    ///
    /// When a part does not fit into a datagram.
    pub fn initials(&self) -> Vec<Vec<u8>> {
        let hello = self.hello();
        let part = hello.len().div_ceil(self.datagrams);
        hello
            .chunks(part)
            .enumerate()
            .map(|(number, data)| self.initial(number, number * part, data))
            .collect()
    }

    fn hello(&self) -> Vec<u8> {
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has it")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(self.name.to_owned()).expect("a name");
        // The transport parameter initial_source_connection_id (RFC 9000, section 18.2), without which no server goes on.
        let id_bytes = u8::try_from(self.source_id.len()).expect("up to 20 bytes");
        let parameters = [&[0x0f, id_bytes], self.source_id].concat();
        let mut connection = ClientConnection::new_with_alpn(
            Arc::new(config),
            self.version,
            name,
            parameters,
            vec![PROTOCOL.to_vec()],
        )
        .expect("it can begin");
        let mut hello = Vec::new();
        connection.write_hs(&mut hello);
        hello
    }

    fn initial(&self, number: usize, offset: usize, data: &[u8]) -> Vec<u8> {
        // The server's identifier is the client's choice until it has answered; each connection has another.
        let mut destination_id = [0x77; 8];
        for (to, from) in destination_id.iter_mut().zip(self.source_id) {
            *to ^= from;
        }
        let (kind, version) = match self.version {
            Version::V2 => (0xd0, 0x6b33_43cf_u32),
            _ => (0xc0, 1),
        };
        let number = u32::try_from(number).expect("few");
        let mut header = vec![kind | (NUMBER_BYTES as u8 - 1)];
        header.extend(version.to_be_bytes());
        for id in [&destination_id[..], self.source_id] {
            header.push(u8::try_from(id.len()).expect("up to 20 bytes"));
            header.extend(id);
        }
        // No token.
        header.push(0);
        let payload_bytes = DATAGRAM_BYTES - header.len() - 2 - NUMBER_BYTES - TAG_BYTES;
        header.extend(two_bytes(NUMBER_BYTES + payload_bytes + TAG_BYTES));
        let number_at = header.len();
        header.extend(number.to_be_bytes());

        let mut payload = vec![0x06];
        payload.extend(two_bytes(offset));
        payload.extend(two_bytes(data.len()));
        payload.extend(data);
        assert!(payload.len() <= payload_bytes, "the part of the hello fits");
        payload.resize(payload_bytes, 0);

        let keys = self.keys(&destination_id);
        let tag = keys
            .local
            .packet
            .encrypt_in_place(number.into(), &header, &mut payload)
            .expect("it can be encrypted");
        payload.extend(tag.as_ref());
        // The sample begins where a packet number of four bytes ends (RFC 9001, section 5.4.2).
        let sample = payload[..keys.local.header.sample_len()].to_vec();
        let (first, rest) = header.split_at_mut(1);
        keys.local
            .header
            .encrypt_in_place(&sample, &mut first[0], &mut rest[number_at - 1..])
            .expect("it can be encrypted");
        [header, payload].concat()
    }

    fn keys(&self, destination_id: &[u8]) -> Keys {
        TLS13_AES_128_GCM_SHA256
            .tls13()
            .and_then(|suite| suite.quic_suite())
            .expect("ring has the suite of Initials")
            .keys(destination_id, Side::Client, self.version)
    }
}

/// A number below 2^14 as two bytes (RFC 9000, section 16).
fn two_bytes(number: usize) -> [u8; 2] {
    assert!(number < 1 << 14);
    (0x4000 | number as u16).to_be_bytes()
}
