-- An agent for a request. Each step is a few statements in one round trip; what the first ones lock, the last one judges. A request's times are
-- the clock's, not now(): who waited for a lock began before what it then finds; and none is before the last one, whatever the clock does.

-- name: request_lock
SELECT request_id FROM requests WHERE request_id = $1::uuid FOR NO KEY UPDATE;

-- name: request_agent_lock
-- The agent that the request has is locked before another one is chosen: whoever chooses skips what is locked, so nobody waits in a ring.
SELECT a.agent_id FROM agents a
 WHERE a.agent_id IN (SELECT r.assigned_agent_id FROM requests r WHERE r.request_id = $1::uuid AND r.status = 'assigned'
                      UNION ALL
                      SELECT r.agent_id FROM requests r WHERE r.request_id = $1::uuid AND r.status = 'pending')
 ORDER BY a.agent_id FOR NO KEY UPDATE;

-- name: request_assign
-- Needs an agent: pending, or assigned by type and match to one that is away, or rests (its probe stays with it).
--   near_type, near   the heads of the two ordered lists, looked through for one that fits
--   far               if nobody there fits, few do: found by their metadata
--   chosen            the first of them that nobody else holds, looked at again under its lock
-- $2: how many of a list are looked at.
WITH r AS MATERIALIZED (
    SELECT q.*, q.status = 'assigned' AS had, coalesce(q.match, '{}') AS wants
      FROM requests q
      LEFT JOIN agents o ON o.agent_id = q.assigned_agent_id
     WHERE q.request_id = $1::uuid AND q.deadline > now()
       AND (q.status = 'pending'
            OR (q.status = 'assigned' AND q.agent_id IS NULL AND q.sends = 0
                AND (o.session_id IS NULL OR (o.status = 'cooldown' AND NOT q.probe))))
), named AS MATERIALIZED (
    SELECT a.agent_id, 0 AS load, NULL::timestamptz AS assigned_at FROM r JOIN agents a ON a.agent_id = r.agent_id AND a.tenant_id = r.tenant_id
     WHERE r.status = 'pending'
), near_type AS MATERIALIZED (
    SELECT c.agent_id, c.load, c.assigned_at
      FROM r, LATERAL (SELECT a.agent_id, a.load, a.assigned_at, a.metadata FROM agents a
                        WHERE a.tenant_id = r.tenant_id AND a.agent_type = r.agent_type
                          AND a.status IN ('active', 'cooldown') AND a.enabled
                          AND (a.status = 'active' OR (a.cooldown_until <= now() AND NOT a.probing))
                        ORDER BY a.load, a.assigned_at NULLS FIRST LIMIT CASE WHEN r.match IS NULL THEN 64 ELSE $2::int END) c
     WHERE r.agent_id IS NULL AND r.agent_type IS NOT NULL AND c.metadata @> r.wants
     ORDER BY c.load, c.assigned_at NULLS FIRST LIMIT 64
), near AS MATERIALIZED (
    SELECT c.agent_id, c.load, c.assigned_at
      FROM r, LATERAL (SELECT a.agent_id, a.load, a.assigned_at, a.metadata FROM agents a
                        WHERE a.tenant_id = r.tenant_id
                          AND a.status IN ('active', 'cooldown') AND a.enabled
                          AND (a.status = 'active' OR (a.cooldown_until <= now() AND NOT a.probing))
                        ORDER BY a.load, a.assigned_at NULLS FIRST LIMIT CASE WHEN r.match IS NULL THEN 64 ELSE $2::int END) c
     WHERE r.agent_id IS NULL AND r.agent_type IS NULL AND c.metadata @> r.wants
     ORDER BY c.load, c.assigned_at NULLS FIRST LIMIT 64
), far AS MATERIALIZED (
    SELECT a.agent_id, a.load, a.assigned_at
      FROM r JOIN agents a ON a.metadata @> r.match AND a.tenant_id = r.tenant_id
     WHERE r.agent_id IS NULL AND r.match IS NOT NULL
       AND NOT EXISTS (SELECT FROM near_type) AND NOT EXISTS (SELECT FROM near)
       AND (r.agent_type IS NULL OR a.agent_type = r.agent_type)
       AND a.status IN ('active', 'cooldown') AND a.enabled
       AND (a.status = 'active' OR (a.cooldown_until <= now() AND NOT a.probing))
     ORDER BY a.load, a.assigned_at NULLS FIRST LIMIT 64
), fits AS MATERIALIZED (
    SELECT * FROM named UNION ALL SELECT * FROM near_type UNION ALL SELECT * FROM near UNION ALL SELECT * FROM far
), chosen AS MATERIALIZED ( -- one after the other, until one can be locked; by its id, whatever the planner thinks of the table
    SELECT c.*
      FROM (SELECT agent_id FROM fits ORDER BY load, assigned_at NULLS FIRST) f,
           LATERAL (SELECT a.agent_id, a.status FROM agents a
                     WHERE a.agent_id = f.agent_id AND a.session_id IS NOT NULL
                       AND (a.status = 'active' OR (a.status = 'cooldown' AND a.cooldown_until <= now() AND NOT a.probing))
                       FOR NO KEY UPDATE SKIP LOCKED) c
     LIMIT 1
), moved AS (
    UPDATE requests q
       SET status = 'assigned', assigned_agent_id = c.agent_id, assigned_at = greatest(clock_timestamp(), q.created_at),
           probe = c.status = 'cooldown', version = q.version + 1, updated_at = now()
      FROM r, chosen c
     WHERE q.request_id = r.request_id AND c.agent_id IS DISTINCT FROM r.assigned_agent_id
    RETURNING q.request_id, r.had, r.assigned_agent_id AS old, r.probe AS old_probe, c.agent_id
), gains AS (
    UPDATE agents a SET load = a.load + 1, assigned_at = clock_timestamp(), probing = a.status = 'cooldown', updated_at = now()
      FROM moved m WHERE a.agent_id = m.agent_id
), loses AS (
    UPDATE agents a SET load = a.load - 1, probing = a.probing AND NOT m.old_probe, updated_at = now()
      FROM moved m WHERE m.had AND a.agent_id = m.old
), noted AS (
    INSERT INTO request_events (request_id, step, agent_id, actor, detail)
    SELECT request_id, 'moved', agent_id, 'mihwar', 'from ' || old FROM moved WHERE had
)
SELECT (SELECT had FROM moved), (SELECT count(*) FROM fits), EXISTS (SELECT FROM r);

-- name: request_standing
-- How things are after it.
SELECT r.status, r.assigned_agent_id, a.hub_instance_id, r.sends, r.deadline,
       greatest(0, floor(extract(epoch FROM r.deadline - now()) * 1000))::bigint,
       coalesce(CASE WHEN r.status = 'pending' AND w.status = 'cooldown' AND NOT w.probing
                     THEN greatest(0, ceil(extract(epoch FROM w.cooldown_until - now()) * 1000))::bigint END, 0),
       r.delivered_at IS NOT NULL
  FROM requests r
  LEFT JOIN agents a ON a.agent_id = r.assigned_agent_id
  LEFT JOIN agents w ON w.agent_id = r.agent_id AND w.tenant_id = r.tenant_id
 WHERE r.request_id = $1::uuid;

-- name: request_assign_waiting
-- The agent's row is locked already (agent_lock). Requests that somebody else is busy with are somebody else's.
WITH me AS MATERIALIZED (
    SELECT a.*, CASE WHEN a.status = 'cooldown' THEN 1 ELSE $2::int END AS room FROM agents a
     WHERE a.agent_id = $1 AND a.status IN ('active', 'cooldown') AND a.enabled
       AND (a.status = 'active' OR (a.cooldown_until <= now() AND NOT a.probing))
), fits AS MATERIALIZED (
    SELECT f.request_id FROM me,
           LATERAL (SELECT r.request_id FROM requests r
                     WHERE r.status = 'pending' AND r.tenant_id = me.tenant_id AND r.deadline > now()
                       AND r.agent_id IS NULL AND (r.agent_type IS NULL OR r.agent_type = me.agent_type)
                       AND (r.match IS NULL OR me.metadata @> r.match)
                     ORDER BY r.request_id LIMIT me.room
                       FOR NO KEY UPDATE SKIP LOCKED) f
), named AS MATERIALIZED (
    SELECT f.request_id FROM me,
           LATERAL (SELECT r.request_id FROM requests r
                     WHERE r.status = 'pending' AND r.agent_id = me.agent_id AND r.tenant_id = me.tenant_id AND r.deadline > now()
                     ORDER BY r.request_id LIMIT me.room
                       FOR NO KEY UPDATE SKIP LOCKED) f
), taken AS MATERIALIZED (
    SELECT request_id FROM (SELECT request_id FROM fits UNION ALL SELECT request_id FROM named) t
     ORDER BY request_id LIMIT (SELECT room FROM me)
), moved AS (
    UPDATE requests q
       SET status = 'assigned', assigned_agent_id = $1, assigned_at = greatest(clock_timestamp(), q.created_at),
           probe = me.status = 'cooldown', version = q.version + 1, updated_at = now()
      FROM taken t, me
     WHERE q.request_id = t.request_id
    RETURNING q.request_id
), gains AS (
    UPDATE agents a SET load = a.load + n.n, assigned_at = clock_timestamp(), probing = a.status = 'cooldown', updated_at = now()
      FROM (SELECT count(*) AS n FROM moved) n
     WHERE a.agent_id = $1 AND n.n > 0
)
SELECT request_id FROM moved ORDER BY request_id;

-- name: requests_open_of
SELECT request_id FROM requests
 WHERE assigned_agent_id = $1 AND status IN ('assigned', 'sent') AND deadline > now()
 ORDER BY request_id
 LIMIT $2::int;

-- name: requests_take_lock
SELECT request_id FROM requests WHERE request_id = ANY ($1::uuid[]) ORDER BY request_id FOR NO KEY UPDATE;

-- name: requests_take
-- Only the hub that holds the agent's session may write to it. What was sent before is on the timeline as sent again.
WITH sent AS (
    UPDATE requests r
       SET status = 'sent', sends = r.sends + 1, sent_at = coalesce(r.sent_at, greatest(clock_timestamp(), r.assigned_at)),
           version = r.version + 1, updated_at = now()
      FROM agents a
     WHERE r.request_id = ANY ($1::uuid[]) AND r.status IN ('assigned', 'sent') AND r.deadline > clock_timestamp()
       AND a.agent_id = r.assigned_agent_id AND a.hub_instance_id = $2 AND a.session_id IS NOT NULL
    RETURNING r.*, a.session_id
), again AS (
    INSERT INTO request_events (request_id, step, agent_id, actor, detail)
    SELECT request_id, 'resent', assigned_agent_id, 'mihwar', 'for the ' || sends || '. time' FROM sent WHERE sends BETWEEN 2 AND 50
)
SELECT request_id, job_id, session_id, assigned_agent_id, command, command_payload,
       greatest(1, floor(extract(epoch FROM deadline - clock_timestamp()) * 1000))::bigint, sends
  FROM sent
 ORDER BY request_id;

-- name: requests_delivered
WITH input AS (
    SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) AS i (job_id, agent_id)
), held AS MATERIALIZED (
    SELECT r.request_id FROM requests r JOIN input i ON i.job_id = r.job_id AND i.agent_id = r.assigned_agent_id
     WHERE r.status = 'sent' AND r.delivered_at IS NULL
     ORDER BY r.request_id FOR NO KEY UPDATE OF r
)
UPDATE requests r SET delivered_at = greatest(clock_timestamp(), r.sent_at), updated_at = now() FROM held h WHERE r.request_id = h.request_id;
