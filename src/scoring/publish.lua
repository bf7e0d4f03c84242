-- Publish the snapshot at s: whole states, rows, the instant and the list of changes together, or nothing.
-- KEYS  snapshot, changes, then one hash per kind of field (whole states and rows of each view)
-- ARGV  epoch, s before (0: none), s, the changes (MessagePack), how many snapshots the list keeps,
--       then for each hash: number of fields, field, value, field, value, ...
-- Returns 1 when published; 0 when another process publishes, or published this s already.
local known = redis.call('HMGET', KEYS[1], 'epoch', 's')
if (known[1] or '0') ~= ARGV[1] or (known[2] or '0') ~= ARGV[2] then return 0 end
local at = 6
for key = 3, #KEYS do
  local last = at + 1 + 2 * tonumber(ARGV[at])
  at = at + 1
  while at < last do
    local upto = math.min(at + 1000, last)
    redis.call('HSET', KEYS[key], unpack(ARGV, at, upto - 1))
    at = upto
  end
end
redis.call('HSET', KEYS[1], 's', ARGV[3])
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], ARGV[3] .. '-0', 'from', ARGV[2], 'b', ARGV[4])
return 1
