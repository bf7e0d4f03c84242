-- Commit what a fold made of a stretch of the log: states, partials and the offset together, or nothing.
-- KEYS  meta, partials, then one key per user hash
-- ARGV  epoch, offset before, offset after, then for the partials and for each user hash:
--       milliseconds until it expires (0 = never), number of fields, field, value, field, value, ...
-- Returns 1 when committed; 0 when another process has taken the partition over or moved its offset.
if (redis.call('HGET', KEYS[1], 'epoch') or '0') ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[1], 'offset') or '0') ~= ARGV[2] then return 0 end
local at = 4
for key = 2, #KEYS do
  local expires, fields = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, fields do
    redis.call('HSET', KEYS[key], ARGV[at], ARGV[at + 1])
    at = at + 2
  end
  if expires ~= '0' then redis.call('PEXPIRE', KEYS[key], expires) end
end
redis.call('HSET', KEYS[1], 'offset', ARGV[3])
return 1
