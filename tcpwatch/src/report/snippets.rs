//! Configuration that is offered, never applied, and what each would have moved of the period's traffic.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::report::fold::Fold;
use crate::report::{Filter, Part, Snippet};

/// Prefixes that a snippet lists: the ones with most packets.
const MOST_LISTED: usize = 40;

/// Columns of lines that are filled.
const FILLED: usize = 74;

/// The mark, as hexadecimal `tw`.
const MARK: &str = "0x7477";

/// An address of the target, and how many packets went there from each own source.
struct Reached {
    address: IpAddr,
    packets: u64,
}

pub(super) fn snippets(fold: &Fold<'_>, filter: &Filter, sources: &[Part]) -> Vec<Snippet> {
    let whole = fold.matched.packets;
    if whole == 0 {
        return Vec::new();
    }
    let listed = listed(fold, filter);
    let is_listed = |address: IpAddr| listed.iter().any(|net| net.contains(&address));
    let own = |v6: bool| {
        let addresses = sources
            .iter()
            .filter_map(|part| part.label.parse::<IpAddr>().ok());
        addresses.into_iter().find(|address| address.is_ipv6() == v6)
    };
    let (v4, v6) = (own(false), own(true));
    // Packets to what is listed that satisfy a condition on destination and source.
    let moved = |is: &dyn Fn(IpAddr, Option<IpAddr>) -> bool| -> u64 {
        let pairs = fold.pairs.iter().filter_map(|((address, origin), packets)| {
            let address = *fold.tables.addresses.get(*address as usize)?;
            let source = fold.tables.origins.get(*origin as usize)?.source;
            (is_listed(address) && is(address, source)).then_some(*packets)
        });
        pairs.sum()
    };
    let snippet = |title, purpose: String, text: String, packets: u64| Snippet {
        title,
        purpose,
        text,
        packets,
        share: packets as f64 / whole as f64,
    };
    let mut offered = Vec::new();
    if let Some(exit) = v4.or(v6)
        && (!listed.is_empty() || !filter.domains().is_empty())
    {
        let both: Vec<String> = v4.iter().chain(&v6).map(ToString::to_string).collect();
        let elsewhere = moved(&|address, source| source != if address.is_ipv6() { v6 } else { v4 });
        if elsewhere > 0 {
            let only = |exit: String| format!("sends the target from {exit} only");
            let text = sing_box(filter, &listed, v4, v6);
            offered.push(snippet("sing-box", only(both.join(" and ")), text, elsewhere));
            let same = |address: IpAddr| address.is_ipv4() == exit.is_ipv4();
            let elsewhere = moved(&|address, source| same(address) && source != Some(exit));
            if elsewhere > 0 {
                let text = xray(filter, &listed, Some(exit));
                offered.push(snippet("Xray", only(exit.to_string()), text, elsewhere));
            }
        } else {
            let purpose = "sends the target through another outbound, here called one-exit".to_owned();
            let all = moved(&|_, _| true);
            let text = sing_box(filter, &listed, None, None);
            offered.push(snippet("sing-box", purpose.clone(), text, all));
            offered.push(snippet("Xray", purpose, xray(filter, &listed, None), all));
        }
    }
    let over_v6 = moved_v6(fold);
    if over_v6 > 0 && v4.is_some() {
        offered.push(snippet(
            "/etc/gai.conf",
            "prefers IPv4 for every destination that has both, not only for this one".to_owned(),
            GAI.to_owned(),
            over_v6,
        ));
    }
    if !listed.is_empty() {
        offered.push(snippet(
            "nftables",
            format!("marks the target's packets with {MARK}, so that `ip rule` can route them"),
            nftables(&listed),
            moved(&|_, _| true),
        ));
    }
    offered
}

/// glibc's list is replaced as a whole by the first such line, so the others are repeated.
const GAI: &str = "precedence  ::1/128       50\n\
                   precedence  ::/0          40\n\
                   precedence  2002::/16     30\n\
                   precedence  ::/96         20\n\
                   precedence  ::ffff:0:0/96 100\n";

fn moved_v6(fold: &Fold<'_>) -> u64 {
    let pairs = fold.pairs.iter().filter(|((address, _), _)| {
        let address = fold.tables.addresses.get(*address as usize);
        address.is_some_and(IpAddr::is_ipv6)
    });
    pairs.map(|(_, packets)| packets).sum()
}

/// The target's prefix where it is one; else its addresses with most packets, neighbours joined.
fn listed(fold: &Fold<'_>, filter: &Filter) -> Vec<IpNet> {
    if let Some(net) = filter.prefix() {
        return vec![net];
    }
    let mut packets = vec![0_u64; fold.tables.addresses.len()];
    for ((address, _), more) in &fold.pairs {
        if let Some(sum) = packets.get_mut(*address as usize) {
            *sum += more;
        }
    }
    let mut reached: Vec<Reached> = fold
        .tables
        .addresses
        .iter()
        .zip(packets)
        .filter(|(_, packets)| *packets > 0)
        .map(|(address, packets)| Reached {
            address: *address,
            packets,
        })
        .collect();
    reached.sort_by(|a, b| b.packets.cmp(&a.packets).then(a.address.cmp(&b.address)));
    reached.truncate(MOST_LISTED);
    let addresses = reached.into_iter().map(|reached| IpNet::from(reached.address));
    IpNet::aggregate(&addresses.collect())
}

fn sing_box(filter: &Filter, listed: &[IpNet], v4: Option<IpAddr>, v6: Option<IpAddr>) -> String {
    let mut outbound = json!({"type": "direct", "tag": "one-exit"});
    let is_own = v4.or(v6).is_some();
    let mut rule = json!({"outbound": "one-exit"});
    for (key, address) in [("inet4_bind_address", v4), ("inet6_bind_address", v6)] {
        if let Some(address) = address {
            set(&mut outbound, key, json!(address.to_string()));
        }
    }
    if !filter.domains().is_empty() {
        set(&mut rule, "domain_suffix", json!(filter.domains()));
    }
    if !listed.is_empty() {
        set(&mut rule, "ip_cidr", json!(texts(listed)));
    }
    let mut text = json!({"route": {"rules": [rule]}});
    if is_own {
        set(&mut text, "outbounds", json!([outbound]));
    }
    pretty(&text)
}

fn xray(filter: &Filter, listed: &[IpNet], exit: Option<IpAddr>) -> String {
    // In one rule, domains and addresses would both have to match.
    let mut rules = Vec::new();
    if !filter.domains().is_empty() {
        let domains: Vec<String> = filter
            .domains()
            .iter()
            .map(|domain| format!("domain:{domain}"))
            .collect();
        rules.push(json!({"type": "field", "domain": domains, "outboundTag": "one-exit"}));
    }
    let reachable: Vec<IpNet> = listed
        .iter()
        .copied()
        .filter(|net| exit.is_none_or(|exit| net.addr().is_ipv4() == exit.is_ipv4()))
        .collect();
    if !reachable.is_empty() {
        rules.push(json!({"type": "field", "ip": texts(&reachable), "outboundTag": "one-exit"}));
    }
    let mut text = json!({"routing": {"rules": rules}});
    if let Some(exit) = exit {
        let strategy = if exit.is_ipv4() { "UseIPv4" } else { "UseIPv6" };
        let outbound = json!({
            "protocol": "freedom", "tag": "one-exit", "sendThrough": exit.to_string(), "settings": {"domainStrategy": strategy}
        });
        set(&mut text, "outbounds", json!([outbound]));
    }
    pretty(&text)
}

fn nftables(listed: &[IpNet]) -> String {
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = listed.iter().partition(|net| net.addr().is_ipv4());
    let mut text = "table inet tcpwatch_target {\n".to_owned();
    let mut rules = String::new();
    let sets = [
        ("target4", "ipv4_addr", "ip", texts(&v4)),
        ("target6", "ipv6_addr", "ip6", texts(&v6)),
    ];
    for (name, kind, protocol, nets) in sets {
        if nets.is_empty() {
            continue;
        }
        write!(
            text,
            "  set {name} {{\n    type {kind}; flags interval;\n    elements = {{ {} }}\n  }}\n",
            nets.chunks(if kind == "ipv4_addr" { 4 } else { 2 })
                .map(|nets| nets.join(", "))
                .collect::<Vec<_>>()
                .join(",\n      ")
        )
        .unwrap_or_default();
        writeln!(rules, "    {protocol} daddr @{name} meta mark set {MARK}").unwrap_or_default();
    }
    text.push_str("  chain output {\n    type route hook output priority mangle;\n");
    text.push_str(&rules);
    text.push_str("  }\n}\n");
    writeln!(
        text,
        "# ip rule add fwmark {MARK} table 100; ip -6 rule add fwmark {MARK} table 100"
    )
    .unwrap_or_default();
    text
}

/// A single address without its length.
fn texts(nets: &[IpNet]) -> Vec<String> {
    let text = |net: &IpNet| {
        if net.prefix_len() == net.max_prefix_len() {
            net.addr().to_string()
        } else {
            net.to_string()
        }
    };
    nets.iter().map(text).collect()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Indented, with lists of texts in lines that are filled, as people write such files.
fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, 0, &mut text);
    text.push('\n');
    text
}

/// Whether an object has its place in one line.
fn fits(value: &Value, fields: &serde_json::Map<String, Value>, indent: usize) -> bool {
    let is_flat = |value: &Value| !value.is_object() && !value.is_array();
    fields.values().all(is_flat) && indent + value.to_string().len() <= FILLED
}

fn write_value(value: &Value, indent: usize, to: &mut String) {
    let inner = indent + 2;
    match value {
        Value::Object(fields) if !fits(value, fields, indent) => {
            to.push_str("{\n");
            for (at, (key, value)) in fields.iter().enumerate() {
                write!(to, "{:inner$}{}: ", "", json!(key)).unwrap_or_default();
                write_value(value, inner, to);
                to.push_str(if at + 1 < fields.len() { ",\n" } else { "\n" });
            }
            write!(to, "{:indent$}}}", "").unwrap_or_default();
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}: {value}", json!(key)))
                .collect();
            write!(to, "{{ {} }}", fields.join(", ")).unwrap_or_default();
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            to.push('[');
            let mut used = 0;
            for (at, item) in items.iter().enumerate() {
                let item = item.to_string();
                let comma = if at + 1 < items.len() { "," } else { "" };
                if at == 0 || used + item.len() + 2 > FILLED {
                    write!(to, "\n{:inner$}", "").unwrap_or_default();
                    used = inner;
                } else {
                    to.push(' ');
                    used += 1;
                }
                used += item.len() + comma.len();
                write!(to, "{item}{comma}").unwrap_or_default();
            }
            write!(to, "\n{:indent$}]", "").unwrap_or_default();
        }
        Value::Array(items) => {
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                to.push_str(if at == 0 { "\n" } else { ",\n" });
                write!(to, "{:inner$}", "").unwrap_or_default();
                write_value(item, inner, to);
            }
            write!(to, "\n{:indent$}]", "").unwrap_or_default();
        }
        other => write!(to, "{other}").unwrap_or_default(),
    }
}
