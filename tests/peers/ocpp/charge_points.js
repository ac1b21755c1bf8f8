// Charge points of other people's make: npm ocpp-rpc in strict mode checks every frame of ours against the schemas of the
// Open Charge Alliance. One argument: a JSON object with "url" and "points" ([identity, version]).
// Writes one JSON object a line: {"event": "ready"}, {"event": "call", …}, {"event": "failure", …}; ends with its input.
const path = require('path');
const { RPCClient } = require(path.join(process.argv[3], 'ocpp-rpc'));
const { url, points } = JSON.parse(process.argv[2]);

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function live16(client) {
  const boot = await client.call('BootNotification', { chargePointVendor: 'ocpp-rpc', chargePointModel: 'strict' });
  await client.call('StatusNotification', { connectorId: 1, errorCode: 'NoError', status: 'Preparing' });
  await client.call('Authorize', { idTag: 'CARD' });
  const started = await client.call('StartTransaction', {
    connectorId: 1, idTag: 'CARD', meterStart: 100, timestamp: new Date().toISOString() });
  await client.call('StatusNotification', { connectorId: 1, errorCode: 'NoError', status: 'Charging' });
  await client.call('MeterValues', {
    connectorId: 1, transactionId: started.transactionId,
    meterValue: [{ timestamp: new Date().toISOString(), sampledValue: [
      { value: '3300', measurand: 'Power.Active.Import', unit: 'W' }, { value: '120.5', unit: 'Wh' }] }] });
  await client.call('Heartbeat', {});
  return boot.status;
}

async function live201(client) {
  const boot = await client.call('BootNotification', {
    reason: 'PowerUp', chargingStation: { vendorName: 'ocpp-rpc', model: 'strict' } });
  const now = () => new Date().toISOString();
  await client.call('StatusNotification', { timestamp: now(), connectorStatus: 'Occupied', evseId: 1, connectorId: 1 });
  await client.call('Authorize', { idToken: { idToken: 'CARD', type: 'ISO14443' } });
  await client.call('TransactionEvent', {
    eventType: 'Started', timestamp: now(), triggerReason: 'CablePluggedIn', seqNo: 0, evse: { id: 1, connectorId: 1 },
    transactionInfo: { transactionId: `T-${client.identity}`, chargingState: 'Charging' },
    idToken: { idToken: 'CARD', type: 'ISO14443' },
    meterValue: [{ timestamp: now(), sampledValue: [{ value: 3300, measurand: 'Power.Active.Import' }] }] });
  await client.call('MeterValues', { evseId: 1, meterValue: [{ timestamp: now(), sampledValue: [{ value: 120.5 }] }] });
  await client.call('NotifyReport', { requestId: 1, generatedAt: now(), seqNo: 0 });
  await client.call('Heartbeat', {});
  return boot.status;
}

function obey(client, version) {
  let kept = [32, 'A'];
  client.handle(({ method, params }) => {
    say({ event: 'call', identity: client.identity, method });
    switch (method) {
      case 'SetChargingProfile': {
        const profile = params.csChargingProfiles || params.chargingProfile;
        const schedule = [].concat(profile.chargingSchedule)[0];
        if (profile.stackLevel > 0) kept = [schedule.chargingSchedulePeriod[0].limit, schedule.chargingRateUnit];
        if (profile.stackLevel > 0) say({ event: 'limit', identity: client.identity, limit: kept[0], unit: kept[1] });
        return { status: 'Accepted' };
      }
      case 'GetCompositeSchedule': {
        const common = { duration: params.duration, chargingRateUnit: kept[1],
          chargingSchedulePeriod: [{ startPeriod: 0, limit: kept[0] }] };
        const start = new Date().toISOString();
        return version === '1.6'
          ? { status: 'Accepted', connectorId: params.connectorId, scheduleStart: start, chargingSchedule: common }
          : { status: 'Accepted', schedule: { evseId: params.evseId, scheduleStart: start, ...common } };
      }
      case 'SetVariables':
        return { setVariableResult: params.setVariableData.map((one) => ({
          attributeStatus: 'Accepted', component: one.component, variable: one.variable })) };
      case 'ClearChargingProfile': case 'TriggerMessage': case 'ChangeAvailability': case 'Reset':
      case 'ChangeConfiguration': case 'RemoteStopTransaction': case 'RemoteStartTransaction':
      case 'RequestStopTransaction': case 'RequestStartTransaction':
        return { status: 'Accepted' };
    }
    throw new Error(`no ${method} here`);
  });
}

async function main() {
  const clients = points.map(([identity, version]) => {
    const client = new RPCClient({
      endpoint: url, identity, protocols: [`ocpp${version}`], strictMode: true, reconnect: false, callTimeoutMs: 20000 });
    client.on('strictValidationFailure', ({ error, outbound, isCall, method }) =>
      say({ event: 'failure', identity, outbound, isCall, method, message: error.message, details: error.details }));
    client.on('badMessage', ({ error }) => say({ event: 'bad', identity, message: error.message }));
    obey(client, version);
    return [client, version];
  });
  const states = await Promise.all(clients.map(async ([client, version]) => {
    await client.connect();
    return version === '1.6' ? live16(client) : live201(client);
  }));
  say({ event: 'ready', accepted: states.filter((one) => one === 'Accepted').length });
  process.stdin.resume();
  await new Promise((done) => process.stdin.on('end', done));
  await Promise.all(clients.map(([client]) => client.close({ force: true })));
  await sleep(10);
  process.exit(0);
}

main().catch((error) => { say({ event: 'error', message: String(error.stack || error) }); process.exit(1); });
