mod blind_spots;
mod claims;
mod doubts;
mod properties;
mod remote;
mod rules;
mod symptoms;
mod timeline;
