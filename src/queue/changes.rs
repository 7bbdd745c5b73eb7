//! What each command does to the rows, within the transaction that `writer` has opened. What it means for memory is noted in
//! [`Effects`], which take place only when the transaction has been committed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Limits;
use super::entry::{Enqueued, EntryId, Removed, Settled, Settlement, millis, since_epoch};
use super::error::QueueError;
use super::keys::DeviceKey;
use super::leasing::Turns;
use super::reasons::known;
use super::shared::Shared;
use super::shares::{self, Shares};
use super::supersede::Scope;
use super::tallies::Change;
use super::withdrawal::Undo;
use crate::notification::{TargetName, Urgency};
use crate::outcome::Reason;

/// The most entries of one device that are looked at for what a later one replaces, the latest first. What is older stays
/// and expires; a device with so many has other troubles.
const MAX_LOOKED_AT: i64 = 4_096;

/// The most entries, and late verdicts, that one sweep deletes for their age: some ten milliseconds.
const MAX_SWEPT: usize = 500;

/// A row to be. Not for printing: its content is private.
pub(super) struct NewRow {
    pub target: TargetName,
    pub server: String,
    pub ack_id: String,
    pub urgency: Urgency,
    pub identity: Option<[u8; 16]>,
    pub device: DeviceKey,
    pub scope: Scope,
    pub accepted_at: i64,
    pub expires_at: i64,
    pub due_at: i64,
    pub attempts: u32,
    pub reason: Option<Reason>,
    pub content: Vec<u8>,
}

/// What a commit means for memory.
#[derive(Default)]
pub(super) struct Effects {
    /// By target.
    pub tallies: BTreeMap<String, Change>,
    /// Entries more or fewer, by server.
    pub shares: BTreeMap<String, i64>,
    /// Targets whose workers have something to look at.
    pub woken: BTreeSet<String>,
    /// Tokens found dead.
    pub dead: Vec<(DeviceKey, Reason)>,
    /// Verdicts that nobody asked for in time.
    pub forgotten: Vec<DeviceKey>,
}

/// A notification that is sent without being queued, and what becomes of those that it makes pointless.
pub(super) struct Superseding {
    pub device: DeviceKey,
    pub scope: Scope,
    pub accepted_at: i64,
    /// They wait until then. `None` if they are to go.
    pub hold_until: Option<i64>,
}

/// Another entry of the same device.
struct Other {
    id: i64,
    leased: bool,
    accepted_at: i64,
    scope: Scope,
}

/// Which of them one makes pointless that was accepted then: ids, and whether each is leased.
fn pointless(others: &[Other], by: &Scope, accepted_at: i64) -> Vec<(i64, bool)> {
    let earlier = others.iter().filter(|other| other.accepted_at <= accepted_at && by.replaces(&other.scope));
    earlier.map(|other| (other.id, other.leased)).collect()
}

/// One transaction.
pub(super) struct Changes<'t> {
    pub connection: &'t Connection,
    pub shared: &'t Shared,
    pub limits: &'t Limits,
    pub shares: &'t Shares,
    pub turns: &'t mut Turns,
    /// Milliseconds since the Unix epoch.
    pub now: i64,
    pub effects: Effects,
}

/// The columns of [`removed`].
pub(super) const REMOVED: &str = "id, target, server, ack_id, kind, accepted_at, attempts, reason";

pub(super) fn removed(row: &Row<'_>) -> rusqlite::Result<Removed> {
    Ok(Removed {
        id: EntryId(row.get(0)?),
        target: TargetName::new(row.get_ref(1)?.as_str()?),
        server: row.get(2)?,
        ack_id: row.get(3)?,
        kind: row.get(4)?,
        accepted_at: since_epoch(row.get(5)?),
        attempts: row.get(6)?,
        reason: row.get_ref(7)?.as_str_or_null()?.map(known),
    })
}

impl Changes<'_> {
    /// And how to undo it, if anything was done.
    pub(super) fn enqueue(&mut self, row: &NewRow) -> rusqlite::Result<(Result<Enqueued, QueueError>, Option<Undo>)> {
        let twin = self.twin(row)?;
        if let Some((_, false)) = twin {
            return Ok((Ok(Enqueued::AlreadyThere), None));
        }
        // A twin that is buried or over makes room: whoever asks again wants it to be tried again.
        let twin = twin.map(|(id, _)| id);
        let others = self.others(row.device)?;
        // Pushes overtake each other on their way here: some are tried for seconds before, others not at all.
        let is_pointless =
            others.iter().any(|other| other.accepted_at > row.accepted_at && other.scope.replaces(&row.scope));
        if is_pointless {
            return Ok((Ok(Enqueued::Pointless), None));
        }
        let pointless = pointless(&others, &row.scope, row.accepted_at);
        let gone: BTreeSet<i64> =
            pointless.iter().filter(|(_, leased)| !leased).map(|(id, _)| *id).chain(twin).collect();
        let max = self.limits.max_entries;
        let free = max.saturating_add(gone.len() as u64).saturating_sub(self.total());
        if free == 0 {
            return Ok((Err(QueueError::Full { max }), None));
        }
        let held = self.held(&row.server);
        // What takes the place of another needs none.
        if gone.is_empty() && shares::is_used_up(held, free) {
            return Ok((Err(QueueError::Share { held, free }), None));
        }
        let leased = pointless.iter().filter(|(_, leased)| *leased).map(|(id, _)| *id).collect();
        let undo = self.remember_to_undo(gone.into_iter(), leased)?;
        if let Some(id) = twin {
            self.delete(id)?;
        }
        let superseded = self.replace(&pointless)?;
        self.insert(row)?;
        let undo = undo.of(self.connection.last_insert_rowid());
        self.change(row.target.as_str(), Change { waiting: 1, buried: 0 });
        self.share(&row.server, 1);
        self.effects.woken.insert(row.target.as_str().to_owned());
        Ok((Ok(Enqueued::Stored { superseded }), Some(undo)))
    }

    /// The same request, if it is there: its id, and whether it is buried or its time is over.
    fn twin(&self, row: &NewRow) -> rusqlite::Result<Option<(i64, bool)>> {
        let Some(identity) = row.identity else { return Ok(None) };
        self.connection
            .prepare_cached("SELECT id, buried_at IS NOT NULL OR expires_at <= ?2 FROM entries WHERE identity = ?1")?
            .query_row(params![identity, self.now], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    fn insert(&self, row: &NewRow) -> rusqlite::Result<()> {
        let wake_at = self.wakes_at(row.due_at, row.expires_at);
        self.connection
            .prepare_cached(
                "INSERT INTO entries (target, server, ack_id, kind, urgency, identity, device_key, channel, thread, crt,
                     collapse_id, accepted_at, expires_at, state, wake_at, attempts, reason, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
                     CASE WHEN ?14 IS NULL THEN 'ready' ELSE 'waiting' END, ?14, ?15, ?16, ?17)",
            )?
            .execute(params![
                row.target.as_str(),
                row.server,
                row.ack_id,
                row.scope.kind,
                row.urgency as u8,
                row.identity,
                row.device.0,
                row.scope.channel,
                row.scope.thread,
                row.scope.crt,
                row.scope.collapse_id,
                row.accepted_at,
                row.expires_at,
                wake_at,
                row.attempts,
                row.reason,
                row.content,
            ])?;
        Ok(())
    }

    /// `None` for at once. What is due after its end wakes at its end, to be removed.
    fn wakes_at(&self, due_at: i64, expires_at: i64) -> Option<i64> {
        let wake_at = due_at.min(expires_at);
        (wake_at > self.now).then_some(wake_at)
    }

    pub(super) fn settle(&mut self, id: EntryId, settlement: &Settlement) -> rusqlite::Result<Settled> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT target, device_key, expires_at, superseded, buried_at IS NOT NULL FROM entries WHERE id = ?1",
            )?
            .query_row([id.0], |row| {
                let target: String = row.get(0)?;
                Ok((
                    target,
                    DeviceKey(row.get(1)?),
                    row.get::<_, i64>(2)?,
                    row.get::<_, bool>(3)?,
                    row.get::<_, bool>(4)?,
                ))
            })
            .optional()?;
        let Some((target, device, expires_at, superseded, buried)) = found else { return Ok(Settled::Gone) };
        match *settlement {
            Settlement::Done => {
                self.delete(id.0)?;
            }
            Settlement::Delivered => {
                self.delete(id.0)?;
                // The provider has changed its mind, or somebody has mended what made it refuse.
                if self.shared.late.has(device) {
                    self.forget(device)?;
                    self.effects.forgotten.push(device);
                }
            }
            Settlement::Dead { reason, others } => {
                self.delete(id.0)?;
                self.remember(device, reason)?;
                if others {
                    return Ok(Settled::WithOthers(self.all_others(device)?));
                }
            }
            Settlement::Later { .. } | Settlement::Bury { .. } if superseded => {
                self.delete(id.0)?;
                return Ok(Settled::Superseded);
            }
            Settlement::Later { due_at, attempts, reason } if !buried => {
                let wake_at = self.wakes_at(millis(due_at), expires_at);
                self.connection
                    .prepare_cached(
                        "UPDATE entries SET state = CASE WHEN ?2 IS NULL THEN 'ready' ELSE 'waiting' END, wake_at = ?2,
                             attempts = ?3, reason = ?4 WHERE id = ?1",
                    )?
                    .execute(params![id.0, wake_at, attempts, reason])?;
                self.effects.woken.insert(target);
            }
            Settlement::Bury { reason } if !buried => self.bury(id.0, &target, reason)?,
            // An operator has been quicker; nothing that is buried comes back without one.
            Settlement::Later { .. } | Settlement::Bury { .. } => {}
        }
        Ok(Settled::Written)
    }

    pub(super) fn supersede(&mut self, by: &Superseding) -> rusqlite::Result<Vec<Removed>> {
        let others = self.others(by.device)?;
        let pointless = pointless(&others, &by.scope, by.accepted_at);
        match by.hold_until {
            None => self.replace(&pointless),
            Some(until) => self.hold_back(&pointless, until).map(|()| Vec::new()),
        }
    }

    /// What else waits for the device, the latest first.
    fn others(&self, device: DeviceKey) -> rusqlite::Result<Vec<Other>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, state = 'leased', accepted_at, kind, channel, thread, crt, collapse_id FROM entries
             WHERE device_key = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![device.0, MAX_LOOKED_AT], |row| {
            Ok(Other {
                id: row.get(0)?,
                leased: row.get(1)?,
                accepted_at: row.get(2)?,
                scope: Scope {
                    kind: row.get(3)?,
                    channel: row.get(4)?,
                    thread: row.get(5)?,
                    crt: row.get(6)?,
                    collapse_id: row.get(7)?,
                },
            })
        })?;
        rows.collect()
    }

    /// All that waits for a device whose token is dead. What is under way finds out by itself.
    fn all_others(&mut self, device: DeviceKey) -> rusqlite::Result<Vec<Removed>> {
        let mut gone = Vec::new();
        for other in self.others(device)?.iter().filter(|other| !other.leased) {
            gone.extend(self.delete(other.id)?);
        }
        Ok(gone)
    }

    /// Has these wait until the one that replaces them has arrived, or has not.
    fn hold_back(&self, pointless: &[(i64, bool)], until: i64) -> rusqlite::Result<()> {
        for (id, _) in pointless.iter().filter(|(_, leased)| !leased) {
            self.connection
                .prepare_cached(
                    "UPDATE entries SET state = 'waiting', wake_at = max(coalesce(wake_at, 0), ?2)
                     WHERE id = ?1 AND state IN ('ready', 'waiting')",
                )?
                .execute(params![id, until])?;
        }
        Ok(())
    }

    /// Removes them; a leased one is under way and is only kept from being tried again.
    fn replace(&mut self, pointless: &[(i64, bool)]) -> rusqlite::Result<Vec<Removed>> {
        let mut gone = Vec::new();
        for (id, leased) in pointless {
            if *leased {
                self.connection.prepare_cached("UPDATE entries SET superseded = 1 WHERE id = ?1")?.execute([id])?;
            } else {
                gone.extend(self.delete(*id)?);
            }
        }
        Ok(gone)
    }

    pub(super) fn delete(&mut self, id: i64) -> rusqlite::Result<Option<Removed>> {
        let gone = self
            .connection
            .prepare_cached(&format!("DELETE FROM entries WHERE id = ?1 RETURNING {REMOVED}, buried_at IS NOT NULL"))?
            .query_row([id], |row| Ok((removed(row)?, row.get::<_, bool>(8)?)))
            .optional()?;
        Ok(gone.map(|(removed, buried)| {
            let (waiting, buried) = if buried { (0, -1) } else { (-1, 0) };
            self.change(removed.target.as_str(), Change { waiting, buried });
            self.share(&removed.server, -1);
            removed
        }))
    }

    pub(super) fn bury(&mut self, id: i64, target: &str, reason: Reason) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE entries SET state = 'buried', wake_at = NULL, buried_at = ?2, reason = ?3 WHERE id = ?1",
            )?
            .execute(params![id, self.now, reason])?;
        self.change(target, Change { waiting: -1, buried: 1 });
        Ok(())
    }

    fn remember(&mut self, device: DeviceKey, reason: Reason) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO late_verdicts (device_key, reason, at) VALUES (?1, ?2, ?3)")?
            .execute(params![device.0, reason, self.now])?;
        self.effects.dead.push((device, reason));
        Ok(())
    }

    /// A late verdict has been told.
    pub(super) fn forget(&mut self, device: DeviceKey) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM late_verdicts WHERE device_key = ?1")?.execute([device.0])?;
        Ok(())
    }

    /// Holds the bounds that only grow by settling: deletes the oldest beyond them.
    pub(super) fn trim(&mut self) -> rusqlite::Result<()> {
        if self.effects.tallies.values().any(|change| change.buried > 0) {
            self.delete_all(
                "SELECT id FROM entries INDEXED BY entries_buried WHERE buried_at IS NOT NULL
                 ORDER BY buried_at DESC, id DESC LIMIT -1 OFFSET ?1",
                self.limits.max_buried,
            )?;
        }
        let late = self.shared.late.len() + self.effects.dead.len();
        if let Some(beyond) = late.checked_sub(self.limits.max_late_verdicts).filter(|beyond| *beyond > 0) {
            self.forget_all(
                "DELETE FROM late_verdicts WHERE device_key IN (SELECT device_key FROM late_verdicts ORDER BY at LIMIT ?1)
                 RETURNING device_key",
                i64::try_from(beyond).unwrap_or(i64::MAX),
            )?;
        }
        Ok(())
    }

    /// Deletes what nobody came back for: some of it, and the rest with the next sweeps, since pushes wait meanwhile.
    pub(super) fn sweep(&mut self) -> rusqlite::Result<()> {
        let before = |kept: std::time::Duration| self.now.saturating_sub(millis(kept));
        let (buried, late) = (before(self.limits.buried_kept), before(self.limits.late_verdicts_kept));
        let old = format!("SELECT id FROM entries INDEXED BY entries_buried WHERE buried_at <= ?1 LIMIT {MAX_SWEPT}");
        self.delete_all(&old, buried)?;
        self.forget_all(
            &format!(
                "DELETE FROM late_verdicts WHERE device_key IN
                     (SELECT device_key FROM late_verdicts WHERE at <= ?1 ORDER BY at LIMIT {MAX_SWEPT}) RETURNING device_key"
            ),
            late,
        )?;
        self.connection.prepare_cached("DELETE FROM tallies WHERE waiting <= 0 AND buried <= 0")?.execute([])?;
        Ok(())
    }

    fn delete_all(&mut self, select: &str, parameter: i64) -> rusqlite::Result<()> {
        let ids: Vec<i64> = self
            .connection
            .prepare_cached(select)?
            .query_map([parameter], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        ids.into_iter().try_for_each(|id| self.delete(id).map(drop))
    }

    fn forget_all(&mut self, delete: &str, parameter: i64) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(delete)?;
        for device in statement.query_map([parameter], |row| row.get(0))? {
            self.effects.forgotten.push(DeviceKey(device?));
        }
        Ok(())
    }

    /// Entries of all targets, with what this transaction has changed.
    fn total(&self) -> u64 {
        let changed = self.effects.tallies.values().map(|change| change.waiting + change.buried).sum();
        self.shared.tallies.total().saturating_add_signed(changed)
    }

    /// Entries of one server, with what this transaction has changed.
    fn held(&self, server: &str) -> u64 {
        let changed = self.effects.shares.get(server).copied().unwrap_or(0);
        self.shares.held(server).saturating_add_signed(changed)
    }

    pub(super) fn share(&mut self, server: &str, change: i64) {
        if let Some(so_far) = self.effects.shares.get_mut(server) {
            *so_far += change;
        } else {
            self.effects.shares.insert(server.to_owned(), change);
        }
    }

    pub(super) fn change(&mut self, target: &str, change: Change) {
        if let Some(so_far) = self.effects.tallies.get_mut(target) {
            so_far.waiting += change.waiting;
            so_far.buried += change.buried;
        } else {
            self.effects.tallies.insert(target.to_owned(), change);
        }
    }
}
