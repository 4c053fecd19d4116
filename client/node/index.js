/* seedpress -- pictures by (model, seed, psi) from a seedpress broker, and where they came from. */
export { Seedpress } from "./lib/seedpress.js";
export { Image } from "./lib/answer.js";
export { ERRORS, SeedpressError } from "./lib/error.js";
