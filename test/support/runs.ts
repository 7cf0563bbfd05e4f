/**
 * How often a property is tried: as often as said in the slow tier, a tenth of it in the quick one. The slow tier takes
 * in every file that calls this.
 */
export function runs(count: number): number {
  return process.env.TIER === 'slow' ? count : Math.ceil(count / 10);
}
