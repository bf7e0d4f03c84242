-- Close the snapshot intervals up to s for one idle partition: nothing before s can come any more.
-- KEYS  meta, log, place
-- ARGV  epoch, offset, s, s - 1
-- Instants are decimal texts without leading zeros: equally long they compare as numbers do, shorter ones are smaller.
-- Returns 1 when closed, 0 when entries before s are not folded yet, -1 when the partition was taken over.
local known = redis.call('HMGET', KEYS[3], 'epoch', 'offset')
if (known[1] or '0') ~= ARGV[1] or (known[2] or '0') ~= ARGV[2] then return -1 end
local function less(left, right) return #left < #right or (#left == #right and left < right) end
local log = redis.call('HMGET', KEYS[1], 'last_k', 'trimmed')
-- What was trimmed away before it was folded waits in the archive.
if less(ARGV[2], log[2] or '0') then return 0 end
local waiting = redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-18446744073709551615',
  ARGV[4] .. '-18446744073709551615', 'COUNT', 1)
if #waiting > 0 then return 0 end
if less(log[1] or '0', ARGV[4]) then redis.call('HSET', KEYS[1], 'last_k', ARGV[4]) end
redis.call('HSET', KEYS[3], 's', ARGV[3])
return 1
