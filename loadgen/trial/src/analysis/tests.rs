mod blind_spots;
mod doubts;
mod properties;
mod remote;
mod rules;
mod symptoms;
mod timeline;
