declare const NOTICES: { name: string; version: string; licence: string; text: string }[];
