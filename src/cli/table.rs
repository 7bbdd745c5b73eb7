//! Tables for people: columns that stand below each other.

use std::borrow::Cow;

/// The most of a cell that is shown, characters, but in the last column: names come from files and callers, and one of them must
/// not push the others off the screen. `--json` has all of it.
const CELL: usize = 64;

/// Columns that stand below each other; the last one may be as long as it likes.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let cut = |row: [String; N]| {
        let mut place = 0;
        row.map(|cell| {
            place += 1;
            let cell = shown(&cell).into_owned();
            if place == N { cell } else { shortened(cell) }
        })
    };
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows.map(cut)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    // Not the last: Rust pads to 65,535 characters at the most, and panics above.
    let widths: [usize; N] = std::array::from_fn(|column| if column + 1 == N { 0 } else { width(column) });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn shortened(cell: String) -> String {
    match cell.char_indices().nth(CELL) {
        None => cell,
        Some(_) => cell.chars().take(CELL - 1).chain(['…']).collect(),
    }
}

/// Ids and names come from files and from callers: none may move the cursor, end its line or turn what follows around.
fn shown(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || c == ' ' || c.is_ascii_punctuation() || "…→·–—".contains(c);
    if text.chars().all(is_plain) {
        return text.into();
    }
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_nothing_moves_the_cursor() {
        let rows = [["ä".to_owned(), "x\u{1b}[2J".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["A", "B"], rows.into_iter()), "A       B\nä       x\\u{1b}[2J\nlonger\n");
    }

    #[test]
    fn a_cell_of_any_length_leaves_the_others_where_they_can_be_read() {
        let long = "ä".repeat(70_000);
        let text = table(["A", "B", "C"], [[long.clone(), "b".into(), long.clone()]].into_iter());
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line, format!("{}…  b  {long}", "ä".repeat(CELL - 1)));
        let whole = "a".repeat(CELL);
        assert!(table(["A", "B"], [[whole.clone(), "b".into()]].into_iter()).contains(&format!("{whole}  b")));
    }
}
