/** A program that does nothing until it is killed: what is tried on a process is tried on it. */
setInterval(() => {}, 1e9);

export {};
