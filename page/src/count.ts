/**
 * A whole number with a comma between its thousands. The first `toLocaleString` loads the data of all languages, and
 * nothing is painted meanwhile.
 */
export const count = (number: number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ',');
