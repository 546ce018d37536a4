// ConvNetJS as a peer: builds one of its two demo networks, takes weights, and answers commands, one JSON line each.
// {"scores": [[...], ...]} → probabilities; {"train": seconds} → images a second at batch 4.
"use strict";
const convnetjs = require(process.argv[2]);
const readline = require("readline");

const definitions = {
  "convnetjs-mnist": [
    { type: "input", out_sx: 24, out_sy: 24, out_depth: 1 },
    { type: "conv", sx: 5, filters: 8, stride: 1, pad: 2, activation: "relu" },
    { type: "pool", sx: 2, stride: 2 },
    { type: "conv", sx: 5, filters: 16, stride: 1, pad: 2, activation: "relu" },
    { type: "pool", sx: 3, stride: 3 },
    { type: "softmax", num_classes: 10 },
  ],
  "convnetjs-cifar10": [
    { type: "input", out_sx: 32, out_sy: 32, out_depth: 3 },
    { type: "conv", sx: 5, filters: 16, stride: 1, pad: 2, activation: "relu" },
    { type: "pool", sx: 2, stride: 2 },
    { type: "conv", sx: 5, filters: 20, stride: 1, pad: 2, activation: "relu" },
    { type: "pool", sx: 2, stride: 2 },
    { type: "conv", sx: 5, filters: 20, stride: 1, pad: 2, activation: "relu" },
    { type: "pool", sx: 2, stride: 2 },
    { type: "softmax", num_classes: 10 },
  ],
};

const net = new convnetjs.Net();
net.makeLayers(definitions[process.argv[3]]);
const trainer = new convnetjs.SGDTrainer(net, { method: "sgd", momentum: 0.9, learning_rate: 0.001, batch_size: 4, l2_decay: 0 });
const input = net.layers[0];
let next = 0;
const images = [];

// NCHW floats → a Vol, whose index is (y·width + x)·depth + channel.
function vol(values) {
  const v = new convnetjs.Vol(input.out_sx, input.out_sy, input.out_depth, 0);
  const map = input.out_sx * input.out_sy;
  for (let c = 0; c < input.out_depth; ++c)
    for (let at = 0; at < map; ++at) v.w[at * input.out_depth + c] = values[c * map + at];
  return v;
}

const handlers = {
  // Flat lists in the order of the layers with weights: filters, biases; each filter (row, column, channel).
  weights(list) {
    const layers = net.layers.filter((layer) => layer.filters);
    layers.forEach((layer, i) => {
      layer.filters.forEach((filter, k) => filter.w.set(list[2 * i][k]));
      layer.biases.w.set(list[2 * i + 1]);
    });
    return layers.length;
  },
  images(list) {
    list.forEach((values) => images.push(vol(values)));
    return images.length;
  },
  scores() {
    return images.map((image) => Array.from(net.forward(image, false).w));
  },
  train(seconds) {
    const began = process.hrtime.bigint();
    let count = 0, spent = 0;
    while (spent < seconds) {
      trainer.train(images[next % images.length], next % 10);
      ++next;
      ++count;
      spent = Number(process.hrtime.bigint() - began) / 1e9;
    }
    return count / spent;
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [name, argument] = Object.entries(JSON.parse(line))[0];
  console.log(JSON.stringify(handlers[name](argument)));
});
