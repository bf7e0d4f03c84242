-- Commits what the learner made of a stretch of the log: weights, model, offsets and pending entries together, or nothing.
--
-- KEYS  epoch, weights, model, offsets, pending
-- ARGV  epoch, weights, model, number of offsets, (partition, place)..., number of entries, (name, entry or '')...
-- Returns 1 when committed, 0 when another learner has taken over.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end

redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
local at = 4
local function put(key)
  local pairs_left = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, pairs_left do
    if ARGV[at + 1] == '' then
      redis.call('HDEL', key, ARGV[at])
    else
      redis.call('HSET', key, ARGV[at], ARGV[at + 1])
    end
    at = at + 2
  end
end
put(KEYS[4])
put(KEYS[5])
return 1
