-- Let readers of one partition use the next generation's states, if these have come as far as those that serve.
-- KEYS  meta, place of the generation that serves, place of the next
-- ARGV  the generation that serves, the next
-- Returns 1 when swapped (or swapped before), 0 when the next generation is behind, -1 when another one serves.
-- The fold of the generation that served is fenced: its epoch grows.
local generation = redis.call('HGET', KEYS[1], 'generation') or '1'
if generation == ARGV[2] then return 1 end
local filled = redis.call('HGET', KEYS[3], 'offset')
if generation ~= ARGV[1] or not filled then return -1 end
local served = redis.call('HGET', KEYS[2], 'offset') or '0'
-- Decimal texts without leading zeros: equally long they compare as numbers do, shorter ones are smaller.
if #filled < #served or (#filled == #served and filled < served) then return 0 end
redis.call('HSET', KEYS[1], 'generation', ARGV[2])
redis.call('HINCRBY', KEYS[2], 'epoch', 1)
return 1
