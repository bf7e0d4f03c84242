-- Close the snapshot interval that ends at s for one partition: nothing before s can come any more.
-- KEYS  meta, log
-- ARGV  epoch, offset, s, s - 1
-- Returns 1 when closed, 0 when entries before s are not folded yet, -1 when the partition was taken over.
if (redis.call('HGET', KEYS[1], 'epoch') or '0') ~= ARGV[1] then return -1 end
if (redis.call('HGET', KEYS[1], 'offset') or '0') ~= ARGV[2] then return -1 end
local waiting = redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-0', ARGV[4] .. '-18446744073709551615', 'COUNT', 1)
if #waiting > 0 then return 0 end
local last = redis.call('HGET', KEYS[1], 'last_k') or '0'
-- Decimal strings of equal length compare as numbers do; shorter ones are smaller.
if #last < #ARGV[4] or (#last == #ARGV[4] and last < ARGV[4]) then
  redis.call('HSET', KEYS[1], 'last_k', ARGV[4])
end
redis.call('HSET', KEYS[1], 's', ARGV[3])
return 1
