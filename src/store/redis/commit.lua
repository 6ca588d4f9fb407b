-- Commits, each whole or not at all, whatever becomes of the others. KEYS of each: record, log, head, watch.
-- ARGV: channel; then of each commit: 0 id, 1 expected version or '', 2 now in ms, 3 record, 4 its TTL in ms or 0,
-- 5 partition, 6 TTL of the log, 7 number of entries, then until, tag, bytes of each entry.
-- Answers for each: the log's head; false, a conflict; or {text}, refused.
local function commit(key, arg)
  local id, now, expires = ARGV[arg], tonumber(ARGV[arg + 2]), ARGV[arg + 4]
  local record, log = KEYS[key], KEYS[key + 1]
  local head = redis.call('GET', KEYS[key + 2]) or '0 0'
  local hints = redis.call('GET', KEYS[key + 3])
  local row = redis.call('GETRANGE', record, 0, 23)
  local version = ''
  if #row > 0 then
    if #row < 24 then return {'CORRUPT a record is shorter than its head'} end
    version = string.sub(row, 1, 16)
    if version == id then
      -- Done by an earlier try. Something is written all the same, so that a WAIT behind this one covers it.
      redis.call('ZREMRANGEBYSCORE', log, '-inf', '-inf')
      redis.call('SET', KEYS[key + 2], head)
      return head
    end
    local expiry = struct.unpack('>I8', string.sub(row, 17))
    if expiry ~= 0 and expiry <= now then version = '' end
  end
  if version ~= ARGV[arg + 1] then return false end
  local number, tag = string.match(head, '^(%d+) (%d+)$')
  if not number then return {'CORRUPT the head of a revocation log'} end
  local entries, micros = tonumber(ARGV[arg + 7]), nil
  if entries > 0 then
    local time = redis.call('TIME')
    micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
    redis.call('ZREMRANGEBYSCORE', log, '-inf', string.format('%.0f', now - 60000))
  end
  if expires == '0' then
    redis.call('SET', record, ARGV[arg + 3])
  else
    redis.call('SET', record, ARGV[arg + 3], 'PX', expires)
  end
  -- As below.
  if hints then redis.pcall('PUBLISH', hints, id .. record) end
  if entries == 0 then return head end
  local messages = {}
  for i = arg + 8, arg + 5 + 3 * entries, 3 do
    local own = string.format('%.0f', math.max(tonumber(number) + 1, micros))
    local entry = own .. ' ' .. ARGV[i + 1] .. ' ' .. number .. ' ' .. tag .. ' ' .. ARGV[i + 2]
    redis.call('ZADD', log, ARGV[i], entry)
    messages[#messages + 1] = ARGV[arg + 5] .. ' ' .. entry
    number, tag = own, ARGV[i + 1]
  end
  head = number .. ' ' .. tag
  redis.call('SET', KEYS[key + 2], head)
  local left = redis.call('PTTL', log)
  if left < tonumber(ARGV[arg + 6]) then redis.call('PEXPIRE', log, ARGV[arg + 6]) end
  -- May be forbidden to this user; followers then find the entries by polling.
  for i = 1, #messages do redis.pcall('PUBLISH', ARGV[1], messages[i]) end
  return head
end

local answers, arg = {}, 2
for key = 1, #KEYS, 4 do
  local done, answer = pcall(commit, key, arg)
  if not done then
    local text = string.gsub(tostring(answer), '%s+$', '')
    -- A replica takes none of them. Said of all, it makes the client look for the primary. 6.2 says first where it stands.
    local replica = string.match(text, '^READONLY.*') or string.match(text, ': %-(READONLY.*)')
    if replica then return redis.error_reply(replica) end
    answer = {text}
  end
  answers[#answers + 1] = answer
  arg = arg + 8 + 3 * ARGV[arg + 7]
end
return answers
