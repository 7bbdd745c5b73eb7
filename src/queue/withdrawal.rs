//! What an enqueue has done, so that it can be undone: whoever asked had given up when it was committed, and has told its caller
//! that it will not arrive. The writer undoes it in its next transaction, before anything is leased.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params_from_iter};

use super::changes::Changes;
use super::tallies::Change;

/// One entry, and what had to go or was marked for it.
#[derive(Debug)]
pub(super) struct Undo {
    /// The entry's.
    id: i64,
    /// The rows that it replaced, whole.
    replaced: Vec<Row>,
    /// Those under way that are not to be tried again for its sake.
    marked: Vec<i64>,
}

/// One row as it was. Not for printing: its content is private.
struct Row {
    target: String,
    server: String,
    is_buried: bool,
    columns: Vec<Value>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Changes<'_> {
    /// How to undo an entry that is about to be made. `gone` are removed for it, `leased` marked.
    pub(super) fn remember_to_undo(&self, gone: impl Iterator<Item = i64>, leased: Vec<i64>) -> rusqlite::Result<Undo> {
        let replaced = gone.filter_map(|id| self.whole(id).transpose()).collect::<rusqlite::Result<_>>()?;
        Ok(Undo { id: 0, replaced, marked: leased })
    }

    fn whole(&self, id: i64) -> rusqlite::Result<Option<Row>> {
        let mut statement = self.connection.prepare_cached("SELECT * FROM entries WHERE id = ?1")?;
        let count = statement.column_count();
        statement
            .query_row([id], |row| {
                Ok(Row {
                    target: row.get("target")?,
                    server: row.get("server")?,
                    is_buried: row.get::<_, Option<i64>>("buried_at")?.is_some(),
                    columns: (0..count).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?,
                })
            })
            .optional()
    }

    /// As if it had never been. If it has gone already, what replaced it is newer than all that it had replaced.
    pub(super) fn undo(&mut self, undo: &Undo) -> rusqlite::Result<()> {
        if self.delete(undo.id)?.is_none() {
            return Ok(());
        }
        for row in &undo.replaced {
            let places = vec!["?"; row.columns.len()].join(", ");
            self.connection
                .prepare_cached(&format!("INSERT INTO entries VALUES ({places})"))?
                .execute(params_from_iter(&row.columns))?;
            let (waiting, buried) = if row.is_buried { (0, 1) } else { (1, 0) };
            self.change(&row.target, Change { waiting, buried });
            self.share(&row.server, 1);
            self.effects.woken.insert(row.target.clone());
        }
        for id in &undo.marked {
            self.connection.prepare_cached("UPDATE entries SET superseded = 0 WHERE id = ?1")?.execute([id])?;
        }
        Ok(())
    }
}

impl Undo {
    /// The entry has this number.
    pub(super) fn of(self, id: i64) -> Self {
        Self { id, ..self }
    }
}
