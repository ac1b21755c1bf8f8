// A BACnet client of other people's make (npm node-bacnet): reads, writes and subscribes, and prints one JSON line.
// Usage: node bacnet_peer.js client PORT OWN_PORT | server PORT
const bacnet = require('node-bacnet');
const [mode, port] = [process.argv[2], Number(process.argv[3])];
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const asked = (call) => new Promise((resolve) => call((error, value) => resolve(error ? { error: String(error) } : value)));

async function client() {
  const device = `127.0.0.1:${port}`;
  const one = new bacnet({ port: Number(process.argv[4]), interface: '127.0.0.1', apduTimeout: 2000 });
  const told = [];
  one.on('covNotifyUnconfirmed', (message) => told.push(message.payload));
  await new Promise((resolve) => setImmediate(resolve));
  const av = { type: 2, instance: 1 };
  const found = {
    name: await asked((done) => one.readProperty(device, { type: 8, instance: 1001 }, 77, done)),
    many: await asked((done) => one.readPropertyMultiple(device, [
      { objectId: { type: 0, instance: 1 }, properties: [{ id: 85 }, { id: 111 }, { id: 103 }, { id: 117 }] },
      { objectId: { type: 13, instance: 1 }, properties: [{ id: 85 }] },
      { objectId: { type: 0, instance: 99 }, properties: [{ id: 85 }] }], done)),
    missing: await asked((done) => one.readProperty(device, { type: 0, instance: 99 }, 85, done)),
    written: await asked((done) => one.writeProperty(device, av, 85, [{ type: 4, value: 61.5 }], { priority: 8 }, done)),
    slots: await asked((done) => one.readProperty(device, av, 87, done)),
    refused: await asked((done) => one.writeProperty(device, av, 85, [{ type: 4, value: 500 }], { priority: 8 }, done)),
    relinquished: await asked((done) => one.writeProperty(device, av, 85, [{ type: 0, value: null }], { priority: 8 }, done)),
    after: await asked((done) => one.readProperty(device, av, 85, done)),
    subscribed: await asked((done) => one.subscribeCov(device, { type: 0, instance: 1 }, 7, false, false, 60, done)),
  };
  const end = Date.now() + 5000;
  while (!told.length && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  say({ ...found, told: told.length, first: told[0] || null });
  one.close();
}

function server() {
  const one = new bacnet({ port, interface: '127.0.0.1' });
  const slots = new Array(16).fill(null);
  const present = () => { const found = slots.find((value) => value !== null); return found === undefined ? 50.0 : found; };
  one.on('error', (error) => say({ failed: String(error) }));
  one.on('whoIs', (message) => one.iAmResponse(message.header.sender, 1001, 3, 999));
  one.on('readProperty', (message) => {
    const { objectId, property } = message.payload;
    const answers = {
      85: [{ type: 4, value: objectId.type === 2 ? present() : 20 + objectId.instance }],
      111: [{ type: 8, value: { value: [0], bitsUsed: 4 } }],
      117: [{ type: 9, value: 62 }], 121: [{ type: 7, value: 'node-bacnet', encoding: 0 }],
      70: [{ type: 7, value: 'peer', encoding: 0 }], 44: [{ type: 7, value: '1', encoding: 0 }],
      87: property.index > 0 && property.index <= 16
        ? [slots[property.index - 1] === null ? { type: 0, value: null } : { type: 4, value: slots[property.index - 1] }] : null,
    };
    const known = objectId.type === 8 || (objectId.type === 0 && objectId.instance < 10) || objectId.type === 2;
    if (!known) one.errorResponse(message.header.sender, 12, message.invokeId, 1, 31);
    else if (!answers[property.id]) one.errorResponse(message.header.sender, 12, message.invokeId, 2, 32);
    else one.readPropertyResponse(message.header.sender, message.invokeId, objectId, property, answers[property.id]);
  });
  one.on('writeProperty', (message) => {
    const { value, priority } = message.payload;
    slots[(value.priority || priority || 16) - 1] = value.value[0].type === 0 ? null : value.value[0].value;
    one.simpleAckResponse(message.header.sender, 15, message.invokeId);
  });
  process.stdin.on('end', () => process.exit(0)).resume();
  setTimeout(() => say({ ready: true }), 100);
}

mode === 'client' ? client() : server();
