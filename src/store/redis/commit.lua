-- KEYS record, log, head, watch. ARGV: 1 commit id, 2 expected version or '', 3 now in ms, 4 record,
-- 5 its TTL in ms or 0, 6 channel, 7 partition, 8 TTL of the log, then until, tag, bytes of each entry.
local head = redis.call('GET', KEYS[3]) or '0 0'
local hints = redis.call('GET', KEYS[4])
local row = redis.call('GETRANGE', KEYS[1], 0, 23)
local version = ''
if #row > 0 then
  if #row < 24 then return redis.error_reply('CORRUPT a record is shorter than its head') end
  version = string.sub(row, 1, 16)
  if version == ARGV[1] then
    -- Done by an earlier try. Something is written all the same, so that a WAIT behind this one covers it.
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '-inf')
    redis.call('SET', KEYS[3], head)
    return head
  end
  local expiry = struct.unpack('>I8', string.sub(row, 17))
  if expiry ~= 0 and expiry <= tonumber(ARGV[3]) then version = '' end
end
if version ~= ARGV[2] then return false end
local number, tag = string.match(head, '^(%d+) (%d+)$')
if not number then return redis.error_reply('CORRUPT the head of a revocation log') end
local revokes = #ARGV > 8
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
if revokes then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', tonumber(ARGV[3]) - 60000))
end
if ARGV[5] == '0' then
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
end
-- As below.
if hints then redis.pcall('PUBLISH', hints, ARGV[1] .. KEYS[1]) end
if not revokes then return head end
local messages = {}
for i = 9, #ARGV, 3 do
  local own = string.format('%.0f', math.max(tonumber(number) + 1, micros))
  local entry = own .. ' ' .. ARGV[i + 1] .. ' ' .. number .. ' ' .. tag .. ' ' .. ARGV[i + 2]
  redis.call('ZADD', KEYS[2], ARGV[i], entry)
  messages[#messages + 1] = ARGV[7] .. ' ' .. entry
  number, tag = own, ARGV[i + 1]
end
head = number .. ' ' .. tag
redis.call('SET', KEYS[3], head)
local left = redis.call('PTTL', KEYS[2])
if left < tonumber(ARGV[8]) then redis.call('PEXPIRE', KEYS[2], ARGV[8]) end
-- May be forbidden to this user; followers then find the entries by polling.
for i = 1, #messages do redis.pcall('PUBLISH', ARGV[6], messages[i]) end
return head
