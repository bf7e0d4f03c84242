-- Notes how far a partition's log is archived, and trims the log behind that.
-- KEYS  the partition's meta hash, its stream
-- ARGV  epoch of the archiver, k up to which everything is archived, k of the last archived event,
--       k up to which every consumer has come, k up to which entries are old enough to go, most entries to keep,
--       k of the last archived served entry
-- Returns {entries removed, how many of them a consumer had not read}, or {-1, 0} if another archiver has taken over.
--
-- Never beyond what is archived. A log that is too long loses first its age, then its slowest consumers, who find the
-- events in the archive: `trimmed`, the greatest k that was removed, tells them.

local meta, stream = KEYS[1], KEYS[2]
if redis.call('HGET', meta, 'epoch:archive') ~= ARGV[1] then return {-1, 0} end
redis.call('HSET', meta, 'archived', ARGV[2], 'archived_event', ARGV[3], 'archived_served', ARGV[7])

local function instant(number) return string.format('%.0f', number) end

local function trim(upto)
  if upto < 1 then return 0 end
  local last = redis.call('XREVRANGE', stream, instant(upto) .. '-0', '-', 'COUNT', 1)
  if #last == 0 then return 0 end
  local k = tonumber(string.match(last[1][1], '^%d+'))
  redis.call('HSET', meta, 'trimmed', instant(k))
  return redis.call('XTRIM', stream, 'MINID', instant(k + 1) .. '-0')
end

local archived, slowest, old, most = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local read = math.min(archived, slowest)
local removed, unread = trim(math.min(read, old)), 0
if redis.call('XLEN', stream) > most then removed = removed + trim(read) end
if redis.call('XLEN', stream) > most then unread = trim(archived) end
return {removed + unread, unread}
