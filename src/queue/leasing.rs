//! Which entries a worker gets: wake those whose time has come, remove those whose time is over, hand out the most urgent. Among
//! equally urgent ones the servers take turns, so that however much of one server waits, another's are next.
//!
//! Every statement here names its index and is bounded: what a lease costs depends on what it moves and not on how many
//! entries there are (`schema` says how; a test reads the plans).

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use super::changes::{Changes, REMOVED, removed};
use super::entry::{EntryId, Lease, Leased, millis, since_epoch};
use super::record;
use crate::notification::{TargetName, Urgency};

/// The most entries handed out at once, whatever is asked for: bounds the transaction.
const MAX_LEASED: usize = 1_000;

/// The most entries of one urgency woken by one lease, and as many removed for their age: some ten milliseconds, which a push
/// that comes meanwhile waits for. The rest is for the next lease, which is said to be due at once.
pub(super) const MAX_MOVED: i64 = 500;

/// Why an entry that cannot be read is buried.
pub(super) const UNDECODABLE: &str = "undecodable";

pub(super) const WAKE: &str = "SELECT id, superseded FROM entries INDEXED BY entries_asleep
    WHERE target = ?1 AND urgency = ?2 AND wake_at <= ?3 ORDER BY wake_at LIMIT ?4";

pub(super) const EXPIRE: &str = "SELECT id FROM entries INDEXED BY entries_ready
    WHERE target = ?1 AND urgency = ?2 AND state = 'ready' AND expires_at <= ?3 LIMIT ?4";

pub(super) const PICK: &str =
    "SELECT id, accepted_at, expires_at, attempts, content FROM entries INDEXED BY entries_turns
    WHERE target = ?1 AND urgency = ?2 AND server = ?3 AND state = 'ready' AND expires_at > ?4
    ORDER BY expires_at, id LIMIT ?5";

/// What is over soon, whoever sent it.
pub(super) const PICK_ENDING: &str =
    "SELECT id, accepted_at, expires_at, attempts, content FROM entries INDEXED BY entries_ready
    WHERE target = ?1 AND urgency = ?2 AND state = 'ready' AND expires_at > ?3 AND expires_at <= ?4
    ORDER BY expires_at LIMIT ?5";

/// The next server in turn: one step down the index, however many entries the one before has.
pub(super) const NEXT_SERVER: &str = "SELECT server FROM entries INDEXED BY entries_turns
    WHERE target = ?1 AND urgency = ?2 AND server > ?3 AND state = 'ready' ORDER BY server LIMIT 1";

pub(super) const IS_READY: &str = "SELECT 1 FROM entries INDEXED BY entries_ready
    WHERE target = ?1 AND urgency = ?2 AND state = 'ready' LIMIT 1";

pub(super) const NEXT: &str = "SELECT wake_at FROM entries INDEXED BY entries_asleep
    WHERE target = ?1 AND urgency = ?2 AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1";

/// Whose turn it was last, by target and urgency. In memory: after a restart the servers begin anew. Where a transaction fails,
/// some have lost a turn.
#[derive(Debug, Default)]
pub(super) struct Turns(HashMap<(TargetName, u8), String>);

impl Changes<'_> {
    pub(super) fn lease(
        &mut self,
        target: &TargetName,
        limit: usize,
        ends_before: Option<Duration>,
        until: Duration,
    ) -> rusqlite::Result<Lease> {
        self.shared.tallies.of(target.as_str()).looked();
        match ends_before {
            None => self.take(target, limit, until),
            Some(ends_before) => self.take_ending(target, limit, ends_before, until),
        }
    }

    fn take_ending(
        &mut self,
        target: &TargetName,
        limit: usize,
        ends_before: Duration,
        until: Duration,
    ) -> rusqlite::Result<Lease> {
        let (mut lease, now) = (Lease::default(), self.now);
        let mut left = limit.min(MAX_LEASED);
        for urgency in Urgency::ALL {
            self.wake(target, urgency, &mut lease)?;
            self.expire(target, urgency, &mut lease)?;
            let of_urgency = params![
                target.as_str(),
                urgency as u8,
                now,
                millis(ends_before),
                i64::try_from(left).unwrap_or(i64::MAX)
            ];
            left -= self.hand_out(PICK_ENDING, of_urgency, (target, urgency), until, &mut lease)?;
        }
        lease.next_due = self.next_due(target)?;
        Ok(lease)
    }

    /// What is over of a target for which nobody has asked for long: it is not configured any more.
    pub(super) fn expire_orphans(&mut self, target: &TargetName) -> rusqlite::Result<usize> {
        let gone = self.take(target, 0, Duration::ZERO)?;
        Ok(gone.expired.len() + gone.superseded.len())
    }

    fn take(&mut self, target: &TargetName, limit: usize, until: Duration) -> rusqlite::Result<Lease> {
        let mut lease = Lease::default();
        let mut left = limit.min(MAX_LEASED);
        for urgency in Urgency::ALL {
            self.wake(target, urgency, &mut lease)?;
            self.expire(target, urgency, &mut lease)?;
            left -= self.pick_in_turns(target, urgency, left, until, &mut lease)?;
        }
        lease.next_due = self.next_due(target)?;
        Ok(lease)
    }

    fn wake(&mut self, target: &TargetName, urgency: Urgency, lease: &mut Lease) -> rusqlite::Result<()> {
        let awake: Vec<(i64, bool)> = self
            .connection
            .prepare_cached(WAKE)?
            .query_map(params![target.as_str(), urgency as u8, self.now, MAX_MOVED], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        for (id, superseded) in awake {
            if superseded {
                lease.superseded.extend(self.delete(id)?);
                continue;
            }
            self.connection
                .prepare_cached("UPDATE entries SET state = 'ready', wake_at = NULL WHERE id = ?1")?
                .execute([id])?;
        }
        Ok(())
    }

    fn expire(&mut self, target: &TargetName, urgency: Urgency, lease: &mut Lease) -> rusqlite::Result<()> {
        let over: Vec<i64> = self
            .connection
            .prepare_cached(EXPIRE)?
            .query_map(params![target.as_str(), urgency as u8, self.now, MAX_MOVED], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in over {
            lease.expired.extend(self.delete(id)?);
        }
        Ok(())
    }

    /// As many from each server; what one does not use is for the others. Says how many it took.
    fn pick_in_turns(
        &mut self,
        target: &TargetName,
        urgency: Urgency,
        limit: usize,
        until: Duration,
        lease: &mut Lease,
    ) -> rusqlite::Result<usize> {
        let mut waiting = self.servers_in_turn(target, urgency, limit)?;
        let (mut left, mut last) = (limit, None);
        while left > 0 && !waiting.is_empty() {
            let share = (left / waiting.len()).max(1);
            let mut have_more = Vec::new();
            for server in waiting.into_iter().take(left) {
                let taken = self.pick((target, urgency, &server), share, until, lease)?;
                left -= taken;
                if taken > 0 {
                    last = Some(server.clone());
                }
                if taken == share {
                    have_more.push(server);
                }
            }
            waiting = have_more;
        }
        if let Some(last) = last {
            self.turns.0.insert((target.clone(), urgency as u8), last);
        }
        Ok(limit - left)
    }

    /// The servers that have something ready, from the one behind that whose turn was last; no more than can be served.
    fn servers_in_turn(&self, target: &TargetName, urgency: Urgency, limit: usize) -> rusqlite::Result<Vec<String>> {
        let last = self.turns.0.get(&(target.clone(), urgency as u8)).map_or("", String::as_str);
        let mut servers: Vec<String> = Vec::new();
        let mut statement = self.connection.prepare_cached(NEXT_SERVER)?;
        // To the end, and then from the beginning to where it began. A server's name is never empty.
        for (begin, end) in [(last, None), ("", Some(last))] {
            let mut before = begin.to_owned();
            while servers.len() < limit {
                let next: Option<String> = statement
                    .query_row(params![target.as_str(), urgency as u8, before], |row| row.get(0))
                    .optional()?;
                let Some(server) = next.filter(|server| end.is_none_or(|end| server.as_str() <= end)) else { break };
                servers.push(server.clone());
                before = server;
            }
        }
        Ok(servers)
    }

    /// The next of one server. Says how many it took, those that cannot be read included.
    fn pick(
        &mut self,
        (target, urgency, server): (&TargetName, Urgency, &str),
        limit: usize,
        until: Duration,
        lease: &mut Lease,
    ) -> rusqlite::Result<usize> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let now = self.now;
        let of_server = params![target.as_str(), urgency as u8, server, now, limit];
        self.hand_out(PICK, of_server, (target, urgency), until, lease)
    }

    /// Leases what a statement finds. Says how many it took, those that cannot be read included.
    fn hand_out(
        &mut self,
        statement: &str,
        parameters: &[&dyn rusqlite::ToSql],
        (target, urgency): (&TargetName, Urgency),
        until: Duration,
        lease: &mut Lease,
    ) -> rusqlite::Result<usize> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let mut rows = statement.query(parameters)?;
        // Nothing is changed while the index is walked.
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            match record::decode(row.get_ref(4)?.as_blob()?) {
                Ok(notification) => good.push(Leased {
                    id: EntryId(id),
                    notification,
                    urgency,
                    accepted_at: since_epoch(row.get(1)?),
                    expires_at: since_epoch(row.get(2)?),
                    attempts: row.get(3)?,
                }),
                Err(record::Undecodable) => bad.push(id),
            }
        }
        drop(rows);
        for entry in &good {
            self.connection
                .prepare_cached("UPDATE entries SET state = 'leased', wake_at = ?2 WHERE id = ?1")?
                .execute(params![entry.id.0, millis(until)])?;
        }
        for id in &bad {
            lease.undecodable.extend(self.bury_undecodable(*id, target)?);
        }
        let taken = good.len() + bad.len();
        lease.entries.extend(good);
        Ok(taken)
    }

    fn bury_undecodable(&mut self, id: i64, target: &TargetName) -> rusqlite::Result<Option<super::entry::Removed>> {
        let entry = self
            .connection
            .prepare_cached(&format!("SELECT {REMOVED} FROM entries WHERE id = ?1"))?
            .query_row([id], removed)
            .optional()?;
        self.bury(id, target.as_str(), UNDECODABLE)?;
        Ok(entry)
    }

    /// Now, if any is ready; otherwise the first time that one wakes at.
    fn next_due(&self, target: &TargetName) -> rusqlite::Result<Option<Duration>> {
        let mut next: Option<i64> = None;
        for urgency in Urgency::ALL {
            let of_urgency = params![target.as_str(), urgency as u8];
            if self.connection.prepare_cached(IS_READY)?.exists(of_urgency)? {
                return Ok(Some(since_epoch(self.now)));
            }
            let wakes: Option<i64> =
                self.connection.prepare_cached(NEXT)?.query_row(of_urgency, |row| row.get(0)).optional()?;
            next = next.into_iter().chain(wakes).min();
        }
        Ok(next.map(since_epoch))
    }
}
