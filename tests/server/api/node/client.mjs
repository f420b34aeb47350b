// node client.mjs PROTOS ADDRESS IMAGE: calls every method by what proto-loader makes of the .proto files below PROTOS.
// Prints what they answered as one JSON object.
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [root, address, file] = process.argv.slice(2);
const files = ["holdfast/v1/holdfast.proto", "google/rpc/error_details.proto"];
const definition = loader.loadSync(files, { includeDirs: [root], keepCase: true, longs: String, defaults: true, oneofs: true });
const { HoldfastService } = grpc.loadPackageDefinition(definition).holdfast.v1;
const client = new HoldfastService(address, grpc.credentials.createInsecure());
const call = (method, request) => promisify(client[method].bind(client))(request);

function details(error) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const status = definition["google.rpc.Status"].deserialize(bytes);
  const type = (url) => definition[url.slice(url.lastIndexOf("/") + 1)];
  return status.details.map((any) => type(any.type_url).deserialize(any.value));
}

async function stream(requests) {
  const answers = [];
  const duplex = client.ClassifyStream();
  for (const request of requests) duplex.write(request);
  duplex.end();
  for await (const answer of duplex) answers.push(answer);
  return answers;
}

const image = { encoded: readFileSync(file) };
const broken = { encoded: Buffer.from("no image") };
const { class_names, input } = await call("GetModelInfo", {});
const classified = await call("Classify", { images: [image, broken], neighbours: 2 });
const streamed = await stream([{ sequence: 7, images: [image] }, { sequence: 8, images: [image] }]);
const embedded = await call("Embed", { images: [image] });
const refused = await call("Classify", { images: [] }).catch((error) => ({ code: error.code, details: details(error) }));
client.close();
console.log(JSON.stringify({ class_names, input, classified, streamed, embedded, refused }));
