//! Rows of numbers in columns that fit a width: comfy-table aligns and cuts, this file decides how wide each column is.

use comfy_table::{CellAlignment, ColumnConstraint, Row as Cells, Table, Width};

use crate::sink::text;

/// Between two columns.
const GAP: usize = 2;

/// A bar shorter than this says nothing.
const LEAST_BAR: usize = 6;

/// A bar longer than this says no more.
const LONGEST_BAR: usize = 24;

/// The columns: what, where, packets, bytes, share.
const COLUMNS: usize = 5;
const LABEL: usize = 0;
const PLACE: usize = 1;
const SHARE: usize = 4;

/// Networks have names of a hundred characters; more than this is cut, so that shares and bars keep their room.
const LONGEST_LABEL: usize = 30;
const LONGEST_PLACE: usize = 24;

/// How narrow the column of places becomes before the shares give way: "private", "US", a word begun.
const NARROW_PLACE: usize = 9;

/// One line of a section.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) place: String,
    pub(super) packets: u64,
    pub(super) bytes: u64,
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
        add(
            &mut table,
            [title, "", "PACKETS", "BYTES", share].map(str::to_owned),
        );
        for row in &rows {
            let numbers = [
                text::thousands(row.packets),
                text::bytes(row.bytes),
                text::share(row.packets, whole),
            ];
            let [packets, bytes, share] = numbers;
            add(
                &mut table,
                [row.label.clone(), row.place.clone(), packets, bytes, share],
            );
        }
        Self {
            table,
            rows,
            whole,
            bars,
        }
    }
}

impl Grid {
    /// How wide its columns would like to be.
    fn widths(&self) -> [usize; COLUMNS] {
        let mut widths = widths(&self.table);
        widths[PLACE] = widths[PLACE].min(LONGEST_PLACE);
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
    let natural: Vec<[usize; COLUMNS]> = grids.iter().map(Grid::widths).collect();
    let aligned = align(&natural);
    let bars = grids.iter().any(|grid| grid.bars);
    let room = |widths: &[usize; COLUMNS]| total(widths) + if bars { GAP + LEAST_BAR } else { 0 };
    // Sections are aligned with one another unless that would cost a bar its place.
    let fits = aligned.iter().all(|widths| room(widths) <= width);
    let chosen = if fits { aligned } else { natural };
    grids
        .iter_mut()
        .zip(chosen)
        .map(|(grid, widths)| draw_one(grid, fit(widths, width), width))
        .collect()
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
                text::bar(row.packets, grid.whole, bar),
            )
        } else {
            (columns, String::new())
        }
    });
    (heading, rows.collect())
}

/// The widths that let the columns of all sections stand exactly below one another.
fn align(natural: &[[usize; COLUMNS]]) -> Vec<[usize; COLUMNS]> {
    let left = |widths: &[usize; COLUMNS]| total(&[widths[LABEL], widths[PLACE], 0, 0, 0]);
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
        if widths[SHARE] == 0 {
            aligned[SHARE] = 0;
        }
        aligned
    });
    aligned.collect()
}

/// Makes the columns fit: first the places are cut, then the shares are left out, then the labels are cut. Numbers
/// are never cut.
fn fit(mut widths: [usize; COLUMNS], width: usize) -> [usize; COLUMNS] {
    let excess = |widths: &[usize; COLUMNS]| total(widths).saturating_sub(width);
    if excess(&widths) > 0 {
        let place = widths[PLACE];
        widths[PLACE] = place.saturating_sub(excess(&widths)).max(place.min(NARROW_PLACE));
    }
    if excess(&widths) > 0 {
        widths[SHARE] = 0;
    }
    widths[LABEL] = widths[LABEL].saturating_sub(excess(&widths)).max(1);
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
