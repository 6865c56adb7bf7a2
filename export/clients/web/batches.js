// Which pictures a step takes: all in a chance order, then all in another, and so on.

/**
 * Draws items one after the other, each as often as any other, to one; the same items give the same order.
 *
 * @template T
 * @param {T[]} items
 * @returns {() => T}
 */
export function drawing(items) {
  const chance = uniform(items.length);
  let order = [];
  return () => {
    if (!order.length) order = shuffled(items, chance);
    return order.pop();
  };
}

function shuffled(items, chance) {
  const found = [...items];
  for (let i = found.length - 1; i > 0; i--) {
    const j = Math.floor(chance() * (i + 1));
    [found[i], found[j]] = [found[j], found[i]];
  }
  return found;
}

/** Numbers from 0 to below 1, by Marsaglia's xorshift of 32 bits (2003, doi:10.18637/jss.v008.i14). */
function uniform(seed) {
  let x = seed + 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}
