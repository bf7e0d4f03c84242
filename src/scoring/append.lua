-- Appends offers to one partition of the log: admits, de-duplicates and counts them in one step.
--
-- KEYS  the stream, the partition's meta hash, its counts hash, then one de-duplication key per event in order
-- ARGV  now (µs), lateness horizon (µs), then three per offer: what it is, its client time (µs, events only), its body
--         e         an event; the body is its bytes
--         s         a served entry; the body is its bytes; outside the accounting
--         rejected  refused before it got here; the body is the reason
--         dropped   kept out for want of consent; the body is the purpose
-- Returns one {status, detail} per offer: accepted and duplicate with the admission instant, rejected and dropped with
-- the reason, served with its instant.
--
-- Instants are whole microseconds below 2^53, so doubles hold them exactly; %.0f writes them without an exponent.

local stream, meta, counts = KEYS[1], KEYS[2], KEYS[3]
local now, horizon = tonumber(ARGV[1]), tonumber(ARGV[2])

local function instant(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', meta, 'last_k', 'first_k')
local last_k = tonumber(known[1] or '0')
local first_k = known[2]
local tally, fates, failure = {}, {}, nil

local function count(name) tally[name] = (tally[name] or 0) + 1 end

-- A failed XADD (the stream is ahead of its meta, or is no stream) must not lose track of what was added before it.
local function add(k, kind, body)
  local added = redis.pcall('XADD', stream, instant(k) .. '-0', 't', kind, 'b', body)
  if type(added) == 'table' and added.err then failure = added; return false end
  last_k = k
  first_k = first_k or instant(k)
  return true
end

local function admit(key, client_time, body)
  local seen = redis.call('GET', key)
  if seen then count('duplicate'); return {'duplicate', seen} end
  local k = math.max(now, last_k + 1)
  if k - client_time > horizon then count('rejected:too_late'); return {'rejected', 'too_late'} end
  -- A clock that is wrong by more than that would keep its message ids here for ever.
  if client_time - k > horizon then count('rejected:too_early'); return {'rejected', 'too_early'} end
  if not add(k, 'e', body) then return nil end
  -- Kept for as long as a repetition would not be too late; the time left, since absolute expiry fails under a past
  -- clock. A client time in the future moves that moment into the future too.
  redis.call('SET', key, instant(k), 'PX', instant(math.floor((client_time + horizon - k) / 1000) + 1))
  count('accepted')
  return {'accepted', instant(k)}
end

local next_key = 4
for place = 3, #ARGV, 3 do
  local what, client_time, body = ARGV[place], tonumber(ARGV[place + 1]), ARGV[place + 2]
  local fate
  if what == 'e' then
    fate = admit(KEYS[next_key], client_time, body)
    next_key = next_key + 1
  elseif what == 's' then
    local k = math.max(now, last_k + 1)
    fate = add(k, 's', body) and {'served', instant(k)}
  else
    count(what .. ':' .. body)
    fate = {what, body}
  end
  if failure then break end
  if what ~= 's' then count('received') end
  fates[#fates + 1] = fate
end

if first_k then redis.call('HSET', meta, 'last_k', instant(last_k), 'first_k', first_k) end
for name, amount in pairs(tally) do redis.call('HINCRBY', counts, name, amount) end
return failure or fates
