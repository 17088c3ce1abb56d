// Hooks: an answer of the server while a page is shown, read once or again and again.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { get } from "./api.js";

export const LIVE_MILLISECONDS = 2000;

// Call `work` now and then every two seconds, one call at a time, while the tab is visible.
export function useLive(work, isLive, dependencies) {
  useEffect(() => {
    const controller = new AbortController();
    let timer;
    let isBusy = false;
    const again = async () => {
      clearTimeout(timer);
      if (isBusy || controller.signal.aborted) return;
      isBusy = true;
      await work(controller.signal);
      isBusy = false;
      if (isLive && !document.hidden && !controller.signal.aborted) timer = setTimeout(again, LIVE_MILLISECONDS);
    };
    const shown = () => isLive && !document.hidden && again();
    document.addEventListener("visibilitychange", shown);
    again();
    return () => {
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [isLive, ...dependencies]);
}

// The answer of an address; `null` as address asks nothing. While another is asked for, the old answer stays.
export function useApi(address, { live = false } = {}) {
  const [state, setState] = useState({ data: null, error: null, address: null });
  const [round, setRound] = useState(0);
  const seen = useRef("");
  const ask = async (signal) => {
    if (address === null) return;
    try {
      const data = await get(address, { signal });
      const text = address + JSON.stringify(data);
      if (text === seen.current) return; // the same as before: nothing is drawn anew
      seen.current = text;
      setState({ data, error: null, address });
    } catch (error) {
      if (error.name === "AbortError") return;
      seen.current = "";
      setState((before) => ({ data: before.address === address ? before.data : null, error, address }));
    }
  };
  useLive(ask, live && address !== null, [address, round]);
  const reload = useCallback(() => setRound((number) => number + 1), []);
  return { ...state, isLoading: address !== null && state.address !== address, reload };
}
