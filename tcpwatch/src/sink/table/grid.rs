//! Rows of numbers in columns that fit a width: comfy-table aligns and cuts, this file decides how wide each column is.

use comfy_table::{CellAlignment, ColumnConstraint, Row as Cells, Table, Width};

use crate::sink::{Amount, text};

/// Between two columns.
const GAP: usize = 2;

/// A bar shorter than this says nothing.
const LEAST_BAR: usize = 6;

/// A bar longer than this says no more.
const LONGEST_BAR: usize = 24;

/// The columns: what, its name and where, packets, bytes, connections, share.
const COLUMNS: usize = 6;
const LABEL: usize = 0;
const PLACE: usize = 1;
const CONNECTIONS: usize = 4;
const SHARE: usize = 5;

/// Networks have names of a hundred characters; more than this is cut, so that shares and bars keep their room.
const LONGEST_LABEL: usize = 30;
const LONGEST_PLACE: usize = 24;

/// The same where names stand before the places: host names are long, and cut they say little.
const LONGEST_NAMED_PLACE: usize = 60;

/// How narrow the column of places becomes before the shares give way: "private", "US", a word begun.
const NARROW_PLACE: usize = 9;

/// One line of a section.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) label: String,
    /// Empty: none is known, or it is the label.
    pub(super) name: String,
    pub(super) place: String,
    pub(super) amount: Amount,
}

impl Row {
    /// A row of a label and nothing else.
    pub(super) fn new(label: String, amount: Amount) -> Self {
        Self {
            label,
            name: String::new(),
            place: String::new(),
            amount,
        }
    }

    fn name_and_place(&self) -> String {
        match (&*self.name, &*self.place) {
            (name, "") => name.to_owned(),
            ("", place) => place.to_owned(),
            (name, place) => format!("{name} · {place}"),
        }
    }
}

/// A section: a heading, and rows under it.
pub(super) struct Grid {
    table: Table,
    rows: Vec<Row>,
    /// What the shares are of; 0: there are no shares.
    whole: u64,
    bars: bool,
}

impl Grid {
    pub(super) fn new(title: &str, bars: bool, rows: Vec<Row>, whole: u64) -> Self {
        let mut table = Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_truncation_indicator("…");
        let share = if whole > 0 { "SHARE" } else { "" };
        let has_connections = has_connections(&rows);
        let connections = if has_connections { "CONNS" } else { "" };
        add(
            &mut table,
            [title, "", "PACKETS", "BYTES", connections, share].map(str::to_owned),
        );
        for row in &rows {
            let amount = row.amount;
            let connections = amount.connections.filter(|_| has_connections);
            let cells = [
                row.label.clone(),
                row.name_and_place(),
                text::thousands(amount.packets),
                text::bytes(amount.bytes),
                connections.map(text::thousands).unwrap_or_default(),
                text::share(amount.packets, whole),
            ];
            add(&mut table, cells);
        }
        Self {
            table,
            rows,
            whole,
            bars,
        }
    }
}

/// Zeros all the way down say nothing.
fn has_connections(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.amount.connections > Some(0))
}

impl Grid {
    /// How wide its columns would like to be.
    fn widths(&self) -> [usize; COLUMNS] {
        let mut widths = widths(&self.table);
        // For comfy-table, an empty column is one wide.
        if self
            .rows
            .iter()
            .all(|row| row.name.is_empty() && row.place.is_empty())
        {
            widths[PLACE] = 0;
        }
        if !has_connections(&self.rows) {
            widths[CONNECTIONS] = 0;
        }
        if self.whole == 0 {
            widths[SHARE] = 0;
        }
        let longest = if self.rows.iter().any(|row| !row.name.is_empty()) {
            LONGEST_NAMED_PLACE
        } else {
            LONGEST_PLACE
        };
        widths[PLACE] = widths[PLACE].min(longest);
        if self.bars {
            widths[LABEL] = widths[LABEL].min(LONGEST_LABEL);
        }
        widths
    }
}

/// Heading, and rows of columns and bar.
type Drawn = (String, Vec<(String, String)>);

/// Draws sections that stand below one another, in at most `width` columns.
pub(super) fn draw(grids: &mut [Grid], width: usize) -> Vec<Drawn> {
    let natural: Vec<(bool, [usize; COLUMNS])> =
        grids.iter().map(|grid| (grid.bars, grid.widths())).collect();
    let bars = grids.iter().any(|grid| grid.bars);
    let all: Vec<_> = natural.iter().map(|(_, widths)| *widths).collect();
    // Sections are aligned with one another unless that would cost a bar its place; then those with bars, and those without.
    let chosen = aligned(&all, bars, width).unwrap_or_else(|| {
        let of_kind = |kind| {
            let widths = natural.iter().filter(|(bars, _)| *bars == kind);
            let widths: Vec<_> = widths
                .map(|(bars, widths)| if *bars { *widths } else { fit(*widths, width) })
                .collect();
            aligned(&widths, kind, width).unwrap_or(widths).into_iter()
        };
        let (mut with, mut without) = (of_kind(true), of_kind(false));
        let chosen = natural.iter().map(|(bars, widths)| {
            let next = if *bars { with.next() } else { without.next() };
            next.unwrap_or(*widths)
        });
        chosen.collect()
    });
    grids
        .iter_mut()
        .zip(chosen)
        .map(|(grid, widths)| draw_one(grid, fit(widths, width), width))
        .collect()
}

/// [`align`]; none: they would not fit, with bars behind them or without.
fn aligned(natural: &[[usize; COLUMNS]], bars: bool, width: usize) -> Option<Vec<[usize; COLUMNS]>> {
    let aligned = align(natural);
    let bar = if bars { GAP + LEAST_BAR } else { 0 };
    let fits = aligned.iter().all(|widths| total(widths) + bar <= width);
    fits.then_some(aligned)
}

fn draw_one(grid: &mut Grid, widths: [usize; COLUMNS], width: usize) -> Drawn {
    for (column, columns) in grid.table.column_iter_mut().zip(widths) {
        // The padding is part of what comfy-table takes for the width of a column.
        let padding = if columns == 0 || column.index == LABEL {
            0
        } else {
            GAP
        };
        column.set_padding((u16::try_from(padding).unwrap_or(u16::MAX), 0));
        column.set_constraint(match u16::try_from(columns + padding) {
            Ok(0) => ColumnConstraint::Hidden,
            Ok(columns) => ColumnConstraint::Absolute(Width::Fixed(columns)),
            Err(_) => ColumnConstraint::ContentWidth,
        });
        if column.index > PLACE {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let bar = width.saturating_sub(total(&widths) + GAP).min(LONGEST_BAR);
    let mut lines = grid.table.lines();
    let heading = lines.next().unwrap_or_default();
    let rows = lines.zip(&grid.rows).map(|(columns, row)| {
        if grid.bars && bar >= LEAST_BAR {
            (
                format!("{columns}{:GAP$}", ""),
                text::bar(row.amount.packets, grid.whole, bar),
            )
        } else {
            (columns, String::new())
        }
    });
    (heading, rows.collect())
}

/// The widths that let the columns of all sections stand exactly below one another.
fn align(natural: &[[usize; COLUMNS]]) -> Vec<[usize; COLUMNS]> {
    let left = |widths: &[usize; COLUMNS]| total(&[widths[LABEL], widths[PLACE], 0, 0, 0, 0]);
    let most_left = natural.iter().map(left).max().unwrap_or(0);
    let mut widest = [0; COLUMNS];
    for widths in natural {
        for (widest, columns) in widest.iter_mut().zip(widths) {
            *widest = (*widest).max(*columns);
        }
    }
    let aligned = natural.iter().map(|widths| {
        let mut aligned = widest;
        let place = if widths[PLACE] == 0 {
            0
        } else {
            GAP + widths[PLACE]
        };
        aligned[PLACE] = widths[PLACE];
        aligned[LABEL] = most_left - place;
        for column in [CONNECTIONS, SHARE] {
            if widths[column] == 0 {
                aligned[column] = 0;
            }
        }
        aligned
    });
    aligned.collect()
}

/// Makes the columns fit: first the places are cut, then the shares are left out, then the connections, then the labels are
/// cut. Numbers are never cut.
fn fit(mut widths: [usize; COLUMNS], width: usize) -> [usize; COLUMNS] {
    let natural = widths[PLACE];
    widths[PLACE] = natural.min(NARROW_PLACE);
    for column in [SHARE, CONNECTIONS] {
        if total(&widths) > width {
            widths[column] = 0;
        }
    }
    let room = width.saturating_sub(total(&widths));
    widths[PLACE] = natural.min(widths[PLACE] + room);
    let excess = total(&widths).saturating_sub(width);
    widths[LABEL] = widths[LABEL].saturating_sub(excess).max(1);
    widths
}

/// Columns that are not empty, and the gaps between them.
fn total(widths: &[usize; COLUMNS]) -> usize {
    let used = widths.iter().filter(|columns| **columns > 0);
    used.map(|columns| columns + GAP)
        .sum::<usize>()
        .saturating_sub(GAP)
}

fn widths(table: &Table) -> [usize; COLUMNS] {
    let mut widths = [0; COLUMNS];
    for (columns, natural) in widths.iter_mut().zip(table.column_max_content_widths()) {
        *columns = usize::from(natural);
    }
    widths
}

fn add(table: &mut Table, cells: [String; COLUMNS]) {
    let mut row = Cells::from(cells);
    row.max_height(1);
    table.add_row(row);
}
