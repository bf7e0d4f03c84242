-- Takes, or keeps, the lease of one partition for one role.
-- KEYS  the lease, the hash that holds the role's epoch, the partition's meta hash
-- ARGV  owner, how long the lease lasts (ms), the field of the epoch, the epoch that the owner knows ('0': none),
--       the generation that it works for ('': any)
-- Returns {'held', epoch}, {'taken', owner} or {'elsewhere', generation}.
--
-- The epoch grows whenever the lease changes hands or may have: what was begun under an older one cannot be committed.

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return {'taken', owner} end

local generation = redis.call('HGET', KEYS[3], 'generation') or '1'
if ARGV[5] ~= '' and generation ~= ARGV[5] then
  if owner then redis.call('DEL', KEYS[1]) end
  return {'elsewhere', generation}
end

local epoch = redis.call('HGET', KEYS[2], ARGV[3])
if not owner or epoch ~= ARGV[4] then
  epoch = tostring(redis.call('HINCRBY', KEYS[2], ARGV[3], 1))
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'held', epoch}
