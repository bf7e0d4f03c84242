-- Commit what a fold made of a stretch of the log: user states, deltas and the offset together, or nothing.
-- KEYS  place, deltas, then one key per user hash
-- ARGV  epoch, offset before, offset after, s: up to where intervals are closed thereby (empty: unchanged),
--       then for the deltas and for each user hash:
--       milliseconds until it expires (0 = never), number of fields, field, value, field, value, ...
-- Returns 1 when committed; 0 when another process has taken the partition over or moved its offset.
local known = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if (known[1] or '0') ~= ARGV[1] or (known[2] or '0') ~= ARGV[2] then return 0 end
local at = 5
for key = 2, #KEYS do
  local expires, fields = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local last = at + 2 * fields
  -- Lua's stack bounds how many arguments one call may have.
  while at < last do
    local upto = math.min(at + 1000, last)
    redis.call('HSET', KEYS[key], unpack(ARGV, at, upto - 1))
    at = upto
  end
  if expires ~= '0' then redis.call('PEXPIRE', KEYS[key], expires) end
end
if ARGV[4] == '' then
  redis.call('HSET', KEYS[1], 'offset', ARGV[3])
else
  redis.call('HSET', KEYS[1], 'offset', ARGV[3], 's', ARGV[4])
end
return 1
