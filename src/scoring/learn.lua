-- Commits what a shard of the learner made of a stretch of the log: numbers, places, pending entries, the record of the
-- order and the delta for scorers, together or not at all.
-- KEYS  meta, numbers, places, recent, pending, order, deltas
-- ARGV  epoch, commits before, version after, the order's record, how many records are kept, the delta ('': nothing has
--       changed), how many deltas are kept, then for numbers, places, recent and pending each:
--       number of fields to set, field, value, ..., number of fields to delete, field, ...
-- Returns 1 when committed; 0 when another process has taken the shard over, or Redis has lost a commit.
local known = redis.call('HMGET', KEYS[1], 'epoch', 'commits')
if known[1] ~= ARGV[1] or (known[2] or '0') ~= ARGV[2] then return 0 end
local commit = string.format('%.0f', ARGV[2] + 1)
redis.call('HSET', KEYS[1], 'commits', commit, 'version', ARGV[3])

local at = 8
-- Lua's stack bounds how many arguments one call may have.
local function in_pieces(command, key, arguments)
  local last = at + arguments
  while at + 1 <= last do
    local upto = math.min(at + 1000, last)
    redis.call(command, key, unpack(ARGV, at + 1, upto))
    at = upto
  end
  at = last + 1
end
for key = 2, 5 do
  in_pieces('HSET', KEYS[key], 2 * tonumber(ARGV[at]))
  in_pieces('HDEL', KEYS[key], tonumber(ARGV[at]))
end

redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[5], commit .. '-0', 'r', ARGV[4])
if ARGV[6] ~= '' then
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[7], ARGV[3] .. '-0', 'd', ARGV[6])
end
return 1
