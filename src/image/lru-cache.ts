/** A map that forgets what was not used for longest. Values may be promises: one that is rejected is forgotten. */
export class LruCache<K, V> {
  readonly #entries = new Map<K, V>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  /** The value of a key, made by `make` when it is not there. */
  get(key: K, make: () => V): V {
    const kept = this.peek(key);
    if (kept !== undefined) return kept;
    const made = make();
    this.set(key, made);
    if (made instanceof Promise) made.catch(() => this.#forget(key, made));
    return made;
  }

  /** The value of a key, which becomes the most recent one; undefined when it is not there. */
  peek(key: K): V | undefined {
    const kept = this.#entries.get(key);
    if (kept === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, kept);
    return kept;
  }

  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#most) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }

  #forget(key: K, value: V): void {
    if (this.#entries.get(key) === value) this.#entries.delete(key);
  }
}
