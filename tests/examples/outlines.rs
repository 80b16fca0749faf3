//! Makes `tcpwatch/src/report/html/world.txt`, the outlines of the report's map, out of Natural Earth's (public domain):
//!
//!     npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
//!     apt-get install iso-codes
//!     cargo run -p tcpwatch-tests --example outlines -- package/countries-110m.json package/countries-50m.json \
//!         /usr/share/iso-codes/json/iso_3166-1.json > tcpwatch/src/report/html/world.txt
//!
//! Outlines are those at 1:110,000,000; what is too small for that scale becomes a point: the middle of its largest part at
//! 1:50,000,000. Antarctica is left out. Borders are simplified once, before countries are put together from them, so that
//! neighbours still share them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "makes a file, or ends with a panic"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// Width of the map; one unit is the finest it knows.
const WIDTH: f64 = 2000.0;

/// How far a simplified border may be from the real one, in units.
const TOLERANCE: f64 = 0.8;

/// The northernmost and southernmost latitude that is shown.
const LATITUDES: (f64, f64) = (83.7, -56.0);

/// Areas without a number of their own in Natural Earth, and the country whose code a place database gives them.
const WITHOUT_NUMBER: [(&str, &str); 3] = [("N. Cyprus", "CY"), ("Somaliland", "SO"), ("Kosovo", "XK")];

/// French Guiana, which Natural Earth draws as France, has a code of its own in place databases: what of France is west of this.
const GUIANA: (&str, &str, f64) = ("FR", "GF", -30.0);

/// Codes of their own which Natural Earth draws as part of another country: longitude and latitude.
const PARTS: [(&str, f64, f64); 9] = [
    ("BQ", -68.27, 12.18),
    ("CC", 96.83, -12.19),
    ("CX", 105.63, -10.45),
    ("GI", -5.35, 36.14),
    ("GP", -61.55, 16.25),
    ("MQ", -61.0, 14.65),
    ("RE", 55.53, -21.13),
    ("TV", 179.2, -8.5),
    ("YT", 45.15, -12.83),
];

type Point = (i32, i32);

fn main() {
    let files: Vec<Value> = std::env::args()
        .skip(1)
        .map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect();
    let [coarse, fine, codes] = files.as_slice() else {
        panic!("wants countries-110m.json countries-50m.json iso_3166-1.json");
    };
    let codes = alpha_2(codes);
    let shapes = countries(coarse, &codes, TOLERANCE);
    let mut lines = BTreeMap::new();
    for (code, rings) in &shapes {
        lines.insert(code.clone(), path(rings));
    }
    for (code, rings) in countries(fine, &codes, 0.0) {
        let (x, y) = middle(&rings);
        lines.entry(code).or_insert_with(|| format!("@{x},{y}"));
    }
    for (code, longitude, latitude) in PARTS {
        let (x, y) = project(longitude, latitude);
        lines
            .entry(code.to_owned())
            .or_insert_with(|| format!("@{x},{y}"));
    }
    lines.remove("AQ");
    println!(
        "# Country outlines: ISO 3166-1 code, then an SVG path, or a point where the country is too small for the scale."
    );
    println!(
        "# Made by tests/examples/outlines.rs from Natural Earth 4.1 (public domain; naturalearthdata.com) as packed by the"
    );
    println!("# npm package world-atlas 2.0.2 (ISC). Natural Earth projection. Width and height:");
    println!("{WIDTH:.0} {}", project(0.0, LATITUDES.1).1);
    for (code, shape) in lines {
        println!("{code} {shape}");
    }
}

/// Numeric codes to two letters.
fn alpha_2(codes: &Value) -> BTreeMap<String, String> {
    codes["3166-1"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            (text("numeric"), text("alpha_2"))
        })
        .collect()
}

/// Every country's rings, by code.
fn countries(
    topology: &Value,
    codes: &BTreeMap<String, String>,
    tolerance: f64,
) -> BTreeMap<String, Vec<Vec<Point>>> {
    let arcs = arcs(topology);
    let borders: Vec<Vec<Point>> = arcs
        .iter()
        .map(|arc| simplified(&projected(arc), tolerance))
        .collect();
    let mut found: BTreeMap<String, Vec<Vec<Point>>> = BTreeMap::new();
    for shape in topology["objects"]["countries"]["geometries"].as_array().unwrap() {
        let name = shape["properties"]["name"].as_str().unwrap();
        let code = match shape["id"].as_str() {
            Some(number) => codes.get(number).map(String::as_str),
            None => WITHOUT_NUMBER
                .iter()
                .find_map(|&(known, code)| (known == name).then_some(code)),
        };
        let Some(code) = code else {
            eprintln!("left out: {name}");
            continue;
        };
        let polygons = shape["arcs"].as_array().unwrap().iter();
        let rings: Vec<&Value> = match shape["type"].as_str().unwrap() {
            "Polygon" => polygons.collect(),
            "MultiPolygon" => polygons.flat_map(|polygon| polygon.as_array().unwrap()).collect(),
            other => panic!("{other}"),
        };
        for ring in rings {
            let degrees = stitch(ring, &arcs);
            let guiana = code == GUIANA.0 && degrees.iter().all(|point| point.0 < GUIANA.2);
            let whole = found
                .entry(if guiana { GUIANA.1 } else { code }.to_owned())
                .or_default();
            if crosses(&degrees) {
                for half in halves(&degrees) {
                    let mut half = simplified(&projected(&half), tolerance);
                    half.pop();
                    whole.push(half);
                }
            } else {
                whole.push(stitch(ring, &borders));
            }
        }
    }
    found
}

/// The borders, in degrees.
fn arcs(topology: &Value) -> Vec<Vec<(f64, f64)>> {
    let pair = |value: &Value| (value[0].as_f64().unwrap(), value[1].as_f64().unwrap());
    let scale = pair(&topology["transform"]["scale"]);
    let origin = pair(&topology["transform"]["translate"]);
    let arcs = topology["arcs"].as_array().unwrap().iter();
    arcs.map(|arc| {
        let (mut x, mut y) = (0.0, 0.0);
        let steps = arc.as_array().unwrap().iter();
        steps
            .map(|step| {
                let (dx, dy) = pair(step);
                (x, y) = (x + dx, y + dy);
                (x * scale.0 + origin.0, y * scale.1 + origin.1)
            })
            .collect()
    })
    .collect()
}

fn projected(line: &[(f64, f64)]) -> Vec<Point> {
    line.iter()
        .map(|&(longitude, latitude)| project(longitude, latitude))
        .collect()
}

/// Whether a ring crosses the 180th meridian, where the map is cut.
fn crosses(ring: &[(f64, f64)]) -> bool {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).any(|(a, b)| (a.0 - b.0).abs() > 180.0)
}

/// Such a ring cut into what is west and what is east of that meridian; each half ends where it begins.
fn halves(ring: &[(f64, f64)]) -> [Vec<(f64, f64)>; 2] {
    // Longitudes from 0 to 360, so that the meridian is in the middle.
    let ring: Vec<(f64, f64)> = ring.iter().map(|&(x, y)| (x.rem_euclid(360.0), y)).collect();
    [(1.0, 0.0), (-1.0, 360.0)].map(|(side, shift)| {
        let mut half = Vec::new();
        for (&a, &b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let inside = |point: (f64, f64)| (point.0 - 180.0) * side <= 0.0;
            if inside(a) {
                half.push((a.0 - shift, a.1));
            }
            if inside(a) != inside(b) {
                let part = (180.0 - a.0) / (b.0 - a.0);
                half.push((180.0 - shift, a.1 + part * (b.1 - a.1)));
            }
        }
        half.extend(half.first().copied());
        half
    })
}

/// The Natural Earth projection (T. Patterson, B. Savric), north at the top.
fn project(longitude: f64, latitude: f64) -> Point {
    let raw = |longitude: f64, latitude: f64| {
        let (l, p) = (longitude.to_radians(), latitude.to_radians());
        let (p2, p4) = (p * p, p * p * p * p);
        let x = l * (0.8707 - 0.131_979 * p2 + p4 * (-0.013_791 + p4 * (0.003_971 * p2 - 0.001_529 * p4)));
        let y = p * (1.007_226 + p2 * (0.015_085 + p4 * (-0.044_475 + 0.028_874 * p2 - 0.005_916 * p4)));
        (x, y)
    };
    let scale = WIDTH / 2.0 / raw(180.0, 0.0).0;
    let (x, y) = raw(longitude, latitude);
    let top = raw(0.0, LATITUDES.0).1;
    (
        (WIDTH / 2.0 + x * scale).round() as i32,
        ((top - y) * scale).round() as i32,
    )
}

/// Douglas and Peucker's: the fewest of the points that stay within `tolerance` of the line. The ends stay.
fn simplified(points: &[Point], tolerance: f64) -> Vec<Point> {
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let away = |&(x, y): &Point| {
        let (dx, dy) = (f64::from(last.0 - first.0), f64::from(last.1 - first.1));
        let (px, py) = (f64::from(x - first.0), f64::from(y - first.1));
        let length = dx.hypot(dy);
        if length == 0.0 {
            px.hypot(py)
        } else {
            (dx * py - dy * px).abs() / length
        }
    };
    let inner = points.get(1..points.len() - 1).unwrap_or_default();
    let farthest = inner
        .iter()
        .map(away)
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1));
    match farthest {
        Some((at, distance)) if distance > tolerance => {
            let mut line = simplified(&points[..=at + 1], tolerance);
            line.pop();
            line.extend(simplified(&points[at + 1..], tolerance));
            line
        }
        _ => vec![first, last],
    }
}

/// A ring out of borders; one numbered `!n` is border `n` backwards.
fn stitch<P: Copy + PartialEq>(ring: &Value, arcs: &[Vec<P>]) -> Vec<P> {
    let mut points: Vec<P> = Vec::new();
    for number in ring.as_array().unwrap() {
        let number = number.as_i64().unwrap();
        let mut part = arcs[usize::try_from(if number < 0 { !number } else { number }).unwrap()].clone();
        if number < 0 {
            part.reverse();
        }
        points.extend(part);
    }
    points.dedup();
    points.pop();
    points
}

/// Twice the area, signed.
fn area(ring: &[Point]) -> i64 {
    ring.iter()
        .zip(ring.iter().cycle().skip(1))
        .map(|(a, b)| i64::from(a.0) * i64::from(b.1) - i64::from(b.0) * i64::from(a.1))
        .sum()
}

/// The middle of the largest ring's extent.
fn middle(rings: &[Vec<Point>]) -> Point {
    let largest = rings.iter().max_by_key(|ring| area(ring).abs()).unwrap();
    let centre = |of: fn(&Point) -> i32| {
        let (low, high) = (largest.iter().map(of).min(), largest.iter().map(of).max());
        low.zip(high).map_or(0, |(low, high)| (low + high) / 2)
    };
    (centre(|point| point.0), centre(|point| point.1))
}

/// SVG's path of the rings; those of no size are left out.
fn path(rings: &[Vec<Point>]) -> String {
    let mut path = String::new();
    let number = |path: &mut String, value: i32, first: bool| {
        if !first && value >= 0 {
            path.push(' ');
        }
        write!(path, "{value}").unwrap();
    };
    for ring in rings.iter().filter(|ring| ring.len() > 2 && area(ring).abs() > 3) {
        let mut at = ring[0];
        write!(path, "M{} {}l", at.0, at.1).unwrap();
        for (position, &point) in ring[1..].iter().enumerate() {
            number(&mut path, point.0 - at.0, position == 0);
            number(&mut path, point.1 - at.1, false);
            at = point;
        }
        path.push('z');
    }
    path
}
