-- name: schedule_add
-- A name in use leaves what is there. $14 NULL: not audited (the house's own at start).
WITH made AS (
    INSERT INTO schedules (id, tenant_id, name, task, args, queue, priority, cron, every_ms, timezone, enabled, jitter_ms,
                           misfire)
    VALUES ($1::uuid, $2::uuid, $3, $4, $5::json, $6, $7::smallint, $8, nullif($9::bigint, 0), $10, $11::boolean,
            $12::bigint, $13)
    ON CONFLICT (name) DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $14, 'schedule.add', 'schedule', id::text, jsonb_build_object('name', name, 'task', task)
      FROM made WHERE $14::text IS NOT NULL
)
SELECT id, tenant_id, name, task, args, queue, priority, cron, coalesce(every_ms, 0), timezone, enabled, jitter_ms, misfire,
       next_due_at, created_at, NULL::timestamptz, version
  FROM made;

-- name: schedule_list
-- By tenant ($1), id ($2), name ($3); NULL: any. $4: after this name.
SELECT s.id, s.tenant_id, s.name, s.task, s.args, s.queue, s.priority, s.cron, coalesce(s.every_ms, 0), s.timezone, s.enabled,
       s.jitter_ms, s.misfire, s.next_due_at, s.created_at,
       (SELECT max(f.fired_at) FROM schedule_firings f WHERE f.schedule_id = s.id), s.version
  FROM schedules s
 WHERE ($1::uuid IS NULL OR s.tenant_id = $1) AND ($2::uuid IS NULL OR s.id = $2) AND ($3::text IS NULL OR s.name = $3)
   AND ($4::text IS NULL OR s.name > $4)
 ORDER BY s.name
 LIMIT $5::int;

-- name: schedule_change
WITH done AS (
    UPDATE schedules
       SET name = $3, task = $4, args = $5::json, queue = $6, priority = $7::smallint, cron = $8,
           every_ms = nullif($9::bigint, 0), timezone = $10, enabled = $11::boolean, jitter_ms = $12::bigint, misfire = $13,
           next_due_at = NULL, version = version + 1, updated_at = now()
     WHERE id = $1::uuid AND version = $2::int
    RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $14, 'schedule.change', 'schedule', id::text,
           jsonb_build_object('name', name, 'enabled', enabled, 'cron', cron, 'every_ms', every_ms)
      FROM done
)
SELECT id, tenant_id, name, task, args, queue, priority, cron, coalesce(every_ms, 0), timezone, enabled, jitter_ms, misfire,
       next_due_at, created_at, NULL::timestamptz, version
  FROM done;

-- name: schedule_remove
WITH done AS (
    DELETE FROM schedules WHERE id = $1::uuid RETURNING *
), noted AS (
    INSERT INTO audit_log (tenant_id, actor, action, object_type, object_id, detail)
    SELECT tenant_id, $2, 'schedule.remove', 'schedule', id::text, jsonb_build_object('name', name) FROM done
)
SELECT id FROM done;

-- name: schedules_due
SELECT s.id, s.tenant_id, s.name, s.task, s.args, s.queue, s.priority, s.cron, coalesce(s.every_ms, 0), s.timezone, s.enabled,
       s.jitter_ms, s.misfire, s.next_due_at, s.created_at,
       (SELECT max(f.fired_at) FROM schedule_firings f WHERE f.schedule_id = s.id), s.version
  FROM schedules s
 WHERE s.enabled AND (s.next_due_at IS NULL OR s.next_due_at <= $1::timestamptz)
 ORDER BY s.next_due_at NULLS FIRST, s.name
 LIMIT $2::int;

-- name: schedules_next
SELECT min(next_due_at) FROM schedules WHERE enabled;

-- name: schedule_set_due
UPDATE schedules SET next_due_at = $3::timestamptz WHERE id = $1::uuid AND version = $2::int;

-- name: schedule_due_now
-- Beat hears of it (schema/0007_beat.sql). Whole milliseconds, as everywhere.
UPDATE schedules SET next_due_at = least(next_due_at, $2::timestamptz) WHERE id = $1::uuid AND enabled RETURNING id;

-- name: schedule_lock
-- Not the schedule that was read, or gone: nothing is fired for it.
SELECT id FROM schedules WHERE id = $1::uuid AND version = $2::int AND enabled FOR UPDATE;

-- name: schedule_firing
INSERT INTO schedule_firings (schedule_id, due_at, job_id) VALUES ($1::uuid, $2::timestamptz, $3::uuid)
ON CONFLICT DO NOTHING;
