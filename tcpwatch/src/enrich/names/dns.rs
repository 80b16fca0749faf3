//! Answers of name servers (RFC 1035, RFC 9460): which addresses a name has.
//!
//! hickory-proto reads names, whose pointers may only lead back, and the data of the few types that matter. Records of
//! all other types are stepped over: what is in them is nobody's business here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Header, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder, DecodeError, Restrict};

use super::host::host;
use crate::enrich::scope;
use crate::record::Scope;

/// Records of an answer that are read. The largest ones seen have some dozens; beyond it a message made of pointers
/// would cost milliseconds.
const MOST_RECORDS: usize = 128;

/// Addresses of an answer that are told.
const MOST_ADDRESSES: usize = 128;

/// Names that may lead from the question to the addresses. Resolvers give up at about as many.
const MOST_NAMES: usize = 17;

/// What a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The name that was asked for and its addresses, each once, with the time for which they may be kept. Not empty.
    Addresses(Arc<str>, Vec<(IpAddr, Duration)>),
    /// It is an answer, but tells no address of a host.
    Nothing,
    /// It is no answer, or a damaged one.
    Unreadable,
}

/// What one record says about the name `owner`.
struct Record {
    owner: Name,
    seconds: u32,
    fact: Fact,
}

enum Fact {
    /// It is another name for this one.
    Alias(Name),
    /// It has these addresses.
    Addresses(Vec<IpAddr>),
    /// Nothing that matters.
    Other,
}

/// Reads one message. Of one that is `cut`, or that says that it is truncated, the whole records count.
pub fn reply(message: &[u8], cut: bool) -> Reply {
    try_reply(message, cut).unwrap_or(Reply::Unreadable)
}

fn try_reply(message: &[u8], cut: bool) -> Result<Reply, DecodeError> {
    let mut decoder = BinDecoder::new(message);
    let Header { metadata, counts } = Header::read(&mut decoder)?;
    if metadata.message_type != MessageType::Response
        || metadata.op_code != OpCode::Query
        || counts.queries != 1
    {
        return Ok(Reply::Unreadable);
    }
    let question = Query::read(&mut decoder)?;
    let Some(name) = text(&question.name).and_then(|name| host(&name)) else {
        return Ok(Reply::Nothing);
    };
    if metadata.response_code != ResponseCode::NoError || question.query_class != DNSClass::IN {
        return Ok(Reply::Nothing);
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(counts.answers).min(MOST_RECORDS) {
        match record(&mut decoder) {
            Ok(record) => records.push(record),
            Err(_) if cut || metadata.truncation => break,
            Err(error) => return Err(error),
        }
    }
    let addresses = reached(question.name, &records);
    Ok(if addresses.is_empty() {
        Reply::Nothing
    } else {
        Reply::Addresses(name, addresses)
    })
}

/// The labels of `name`, with dots between them; none if one has a dot inside.
fn text(name: &Name) -> Option<Vec<u8>> {
    let labels: Vec<_> = name.iter().collect();
    let ambiguous = labels.iter().any(|label| label.contains(&b'.'));
    (!ambiguous).then(|| labels.join(&b'.'))
}

fn record(decoder: &mut BinDecoder<'_>) -> Result<Record, DecodeError> {
    let owner = Name::read(decoder)?;
    let kind = RecordType::read(decoder)?;
    let class = DNSClass::read(decoder)?;
    let seconds = decoder.read_u32()?.unverified(/* any is allowed */);
    let length = decoder.read_u16()?.unverified(/* reading checks it */);
    let mut data = None;
    let read = matches!(
        kind,
        RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::HTTPS
    );
    if read && class == DNSClass::IN {
        data = Some(RData::read(decoder, kind, Restrict::new(length))?);
    } else {
        decoder.read_slice(usize::from(length))?;
    }
    Ok(Record {
        owner,
        // RFC 2181 section 8.
        seconds: if i32::try_from(seconds).is_ok() {
            seconds
        } else {
            0
        },
        fact: data.map_or(Fact::Other, fact),
    })
}

fn fact(data: RData) -> Fact {
    match data {
        RData::CNAME(target) => Fact::Alias(target.0),
        RData::A(address) => Fact::Addresses(vec![address.0.into()]),
        RData::AAAA(address) => Fact::Addresses(vec![address.0.into()]),
        RData::HTTPS(service) => {
            let hints = service
                .0
                .svc_params
                .into_iter()
                .flat_map(|(_, value)| match value {
                    SvcParamValue::Ipv4Hint(hint) => hint.0.into_iter().map(|hint| hint.0.into()).collect(),
                    SvcParamValue::Ipv6Hint(hint) => hint.0.into_iter().map(|hint| hint.0.into()).collect(),
                    _ => Vec::new(),
                });
            Fact::Addresses(hints.collect())
        }
        _ => Fact::Other,
    }
}

/// The addresses to which `records` lead from `question`, wherever in the message they stand; each may be kept as long
/// as every record on the way to it.
fn reached(question: Name, records: &[Record]) -> Vec<(IpAddr, Duration)> {
    let mut way = vec![(question, u32::MAX)];
    while let Some((last, seconds)) = way.last() {
        let next = records.iter().find_map(|record| match &record.fact {
            Fact::Alias(target) if record.owner == *last => Some((target, record.seconds.min(*seconds))),
            _ => None,
        });
        let Some((target, seconds)) = next else {
            break;
        };
        // A loop, or a chain that nobody follows to its end.
        if way.len() == MOST_NAMES || way.iter().any(|(name, _)| name == target) {
            return Vec::new();
        }
        way.push((target.clone(), seconds));
    }
    let mut found: Vec<(IpAddr, Duration)> = Vec::new();
    for record in records {
        let Fact::Addresses(addresses) = &record.fact else {
            continue;
        };
        let Some((_, seconds)) = way.iter().find(|(name, _)| *name == record.owner) else {
            continue;
        };
        let keep = Duration::from_secs(record.seconds.min(*seconds).into());
        for address in addresses.iter().map(IpAddr::to_canonical).filter(is_somewhere) {
            if let Some((_, longest)) = found.iter_mut().find(|(known, _)| *known == address) {
                *longest = keep.max(*longest);
            } else if found.len() < MOST_ADDRESSES {
                found.push((address, keep));
            } else {
                return found;
            }
        }
    }
    found
}

/// Whether packets may leave for `address`: name servers that block answer with one to which none do.
fn is_somewhere(address: &IpAddr) -> bool {
    !matches!(
        scope(*address),
        Scope::Unspecified
            | Scope::Loopback
            | Scope::LinkLocal
            | Scope::Multicast
            | Scope::Broadcast
            | Scope::Reserved
    )
}

#[cfg(test)]
mod tests;
