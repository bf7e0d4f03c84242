-- Appends offers to one partition of the log: admits, de-duplicates and counts them in one step, and keeps the letters
-- of those that are rejected.
--
-- KEYS  the stream, the partition's meta hash, its counts hash, its dead-letter stream, then one de-duplication key per
--       event in order
-- ARGV  now (µs), lateness horizon (µs), how many dead letters are kept, whether every letter is here that may be needed
--       (1 or 0), then four per offer: what it is, its client time (µs, events only), its body, its letter
--         e         an event; the body is its bytes, the letter what is kept if it is too late or too early
--         s         a served entry; the body is its bytes; outside the accounting
--         rejected  refused before it got here; the body is the reason, the letter what is kept of it
--         dropped   kept out for want of consent; the body is the purpose
-- Returns one {status, detail} per offer: accepted and duplicate with the admission instant, rejected and dropped with
-- the reason, served with its instant; {again, reason} for an event that is to be rejected and came without its letter:
-- nothing of it is counted, offer it again with the letter. Returns MOVING, and does nothing, once the log is sealed.
--
-- Instants are whole microseconds below 2^53, so doubles hold them exactly; %.0f writes them without an exponent.
--
-- An XADD comes first of all that is written: a Redis that is full refuses only the first write of a script.

local stream, meta, counts, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, horizon, bound, complete = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'

local function instant(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', meta, 'last_k', 'first_k', 'sealed')
if known[3] then return 'MOVING' end
local last_k = tonumber(known[1] or '0')
local first_k = known[2]
local last_dead = nil
local tally, fates, failure = {}, {}, nil

local function count(name) tally[name] = (tally[name] or 0) + 1 end

-- A failed XADD (the stream is ahead of its meta, or is no stream) must not lose track of what was added before it.
local function xadd(key, k, ...)
  local added = redis.pcall('XADD', key, instant(k) .. '-0', ...)
  if type(added) == 'table' and added.err then failure = added; return false end
  return true
end

local function add(k, kind, body)
  if not xadd(stream, k, 't', kind, 'b', body) then return false end
  last_k = k
  first_k = first_k or instant(k)
  return true
end

-- Of the stream itself, since letters that were trimmed or re-driven count too; 0 if there is no stream.
local function last_dead_instant()
  local told = redis.pcall('XINFO', 'STREAM', dead)
  for place = 1, #told, 2 do
    if told[place] == 'last-generated-id' then return tonumber(string.match(told[place + 1], '^%d+')) end
  end
  return 0
end

local function reject(reason, letter)
  if letter == '' then
    count('letters_lost')
  else
    last_dead = math.max(now, last_k + 1, (last_dead or last_dead_instant()) + 1)
    if not xadd(dead, last_dead, 'r', reason, 's', letter) then return nil end
  end
  count('rejected:' .. reason)
  return {'rejected', reason}
end

local function admit(key, client_time, body, letter)
  local seen = redis.call('GET', key)
  if seen then count('duplicate'); return {'duplicate', seen} end
  local k = math.max(now, last_k + 1)
  -- A clock that is ahead by more than the horizon would keep its message ids here for ever.
  local outside = (k - client_time > horizon and 'too_late') or (client_time - k > horizon and 'too_early')
  if outside then
    if letter == '' and not complete then return {'again', outside} end
    return reject(outside, letter)
  end
  if not add(k, 'e', body) then return nil end
  -- Kept for as long as a repetition would not be too late; the time left, since absolute expiry fails under a past
  -- clock. A client time in the future moves that moment into the future too.
  redis.call('SET', key, instant(k), 'PX', instant(math.floor((client_time + horizon - k) / 1000) + 1))
  count('accepted')
  return {'accepted', instant(k)}
end

local next_key = 5
for place = 5, #ARGV, 4 do
  local what, client_time, body, letter = ARGV[place], tonumber(ARGV[place + 1]), ARGV[place + 2], ARGV[place + 3]
  local fate
  if what == 'e' then
    fate = admit(KEYS[next_key], client_time, body, letter)
    next_key = next_key + 1
  elseif what == 's' then
    local k = math.max(now, last_k + 1)
    fate = add(k, 's', body) and {'served', instant(k)}
  elseif what == 'rejected' then
    fate = reject(body, letter)
  else
    count(what .. ':' .. body)
    fate = {what, body}
  end
  if failure then break end
  if what ~= 's' and fate[1] ~= 'again' then count('received') end
  fates[#fates + 1] = fate
end

if first_k then redis.call('HSET', meta, 'last_k', instant(last_k), 'first_k', first_k) end
for name, amount in pairs(tally) do redis.call('HINCRBY', counts, name, amount) end

-- Letters are kept for the horizon. The expiry is for a partition to which nothing comes any more.
redis.call('XTRIM', dead, 'MINID', '=', instant(math.max(0, now - horizon)))
if last_dead then
  redis.call('PEXPIRE', dead, instant(math.ceil(horizon / 1000)))
  local pushed_out = redis.call('XTRIM', dead, 'MAXLEN', '=', bound)
  if pushed_out > 0 then redis.call('HINCRBY', counts, 'letters_lost', pushed_out) end
end
return failure or fates
